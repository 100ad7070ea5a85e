// SPDX-License-Identifier: MIT
#include "sgx/image/sigstruct.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace sgm::sgx {
namespace {

constexpr int kKeyBits = 3072;
constexpr std::size_t kKeyBytes = kKeyBits / 8;

struct FreeOpenssl {
    void operator()(BIGNUM* number) const { BN_free(number); }
    void operator()(BN_CTX* context) const { BN_CTX_free(context); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
    void operator()(std::FILE* file) const { std::fclose(file); }
};
template <typename T>
using Owned = std::unique_ptr<T, FreeOpenssl>;
using Number = std::array<std::uint8_t, kKeyBytes>;  // little-endian

Owned<BIGNUM> number(const Number& bytes) {
    return Owned<BIGNUM>{BN_lebin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr)};
}

// Only for numbers below 2^3072.
Number bytes_of_number(const BIGNUM* value) {
    Number bytes{};
    BN_bn2lebinpad(value, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
}

// The signed parts: bytes 0-127 and 900-1027.
std::array<std::uint8_t, 256> signed_bytes(const Sigstruct& sigstruct) {
    const Bytes all = bytes_of(sigstruct);
    std::array<std::uint8_t, 256> bytes;
    std::copy_n(all.begin(), 128, bytes.begin());
    std::copy_n(all.begin() + offsetof(Sigstruct, miscselect), 128, bytes.begin() + 128);
    return bytes;
}

// EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 9.2), big-endian.
Number padded_digest(const Sigstruct& sigstruct) {
    constexpr std::array<std::uint8_t, 19> kDigestInfo = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                                          0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                                          0x01, 0x05, 0x00, 0x04, 0x20};
    Number padded;
    padded.fill(0xff);
    padded[0] = 0;
    padded[1] = 1;
    const auto info = padded.end() - SHA256_DIGEST_LENGTH - std::ssize(kDigestInfo);
    info[-1] = 0;
    const auto digest = std::copy(kDigestInfo.begin(), kDigestInfo.end(), info);
    std::ranges::copy(signing_digest(sigstruct), digest);
    return padded;
}

// What EINIT computes with the help of q1 and q2 instead of dividing.
struct Powers {
    Number q1;       // floor(s^2 / n)
    Number q2;       // floor(s * (s^2 mod n) / n)
    Number message;  // s^3 mod n
};
std::expected<Powers, std::string> powers(const BIGNUM* s, const BIGNUM* n) {
    const Owned<BN_CTX> context{BN_CTX_new()};
    const Owned<BIGNUM> product{BN_new()};
    const Owned<BIGNUM> quotient{BN_new()};
    const Owned<BIGNUM> rest{BN_new()};
    if (!context || !product || !quotient || !rest) return std::unexpected("out of memory");
    Powers result{};
    if (BN_sqr(product.get(), s, context.get()) != 1 ||
        BN_div(quotient.get(), rest.get(), product.get(), n, context.get()) != 1)
        return std::unexpected("out of memory");
    result.q1 = bytes_of_number(quotient.get());
    if (BN_mul(product.get(), s, rest.get(), context.get()) != 1 ||
        BN_div(quotient.get(), rest.get(), product.get(), n, context.get()) != 1)
        return std::unexpected("out of memory");
    result.q2 = bytes_of_number(quotient.get());
    result.message = bytes_of_number(rest.get());
    return result;
}

// Puts in what depends on the key; `signature` is big-endian.
std::expected<Sigstruct, std::string> with_signature(
    Sigstruct sigstruct, const BIGNUM* n, std::span<const std::uint8_t, kKeyBytes> signature) {
    sigstruct.modulus = bytes_of_number(n);
    sigstruct.exponent = 3;
    std::reverse_copy(signature.begin(), signature.end(), sigstruct.signature.begin());
    const Owned<BIGNUM> s = number(sigstruct.signature);
    // RFC 8017, 8.2.2: a signature is below the modulus.
    if (!s || BN_cmp(s.get(), n) >= 0)
        return std::unexpected("the signature was not made by this key");
    const auto helpers = powers(s.get(), n);
    if (!helpers) return std::unexpected(helpers.error());
    sigstruct.q1 = helpers->q1;
    sigstruct.q2 = helpers->q2;
    return sigstruct;
}

bool is_signer_key(const EVP_PKEY* key) {
    BIGNUM* exponent = nullptr;
    const bool fits = EVP_PKEY_is_a(key, "RSA") == 1 && EVP_PKEY_get_bits(key) == kKeyBits &&
                      EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
                      BN_is_word(exponent, 3) == 1;
    BN_free(exponent);
    return fits;
}

bool all_zero(Bytes bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::unexpected<std::string> bad_field(std::string_view field, std::string_view why) {
    return std::unexpected(fmt::format("SIGSTRUCT.{} {}", field, why));
}

}  // namespace

void SignerKey::Free::operator()(EVP_PKEY* key) const {
    EVP_PKEY_free(key);
}

std::expected<SignerKey, std::string> SignerKey::generate() {
    const Owned<EVP_PKEY_CTX> context{EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr)};
    const Owned<BIGNUM> exponent{BN_new()};
    EVP_PKEY* key = nullptr;
    if (!context || !exponent || BN_set_word(exponent.get(), 3) != 1 ||
        EVP_PKEY_keygen_init(context.get()) != 1 ||
        EVP_PKEY_CTX_set_rsa_keygen_bits(context.get(), kKeyBits) != 1 ||
        EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context.get(), exponent.get()) != 1 ||
        EVP_PKEY_generate(context.get(), &key) != 1)
        return std::unexpected("OpenSSL could not make an RSA key");
    return SignerKey{key};
}

std::expected<SignerKey, std::string> SignerKey::load(const std::filesystem::path& path) {
    const Owned<std::FILE> file{std::fopen(path.c_str(), "re")};
    if (!file) return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    struct stat status{};
    if (::fstat(fileno(file.get()), &status) != 0 || (status.st_mode & 077) != 0)
        return std::unexpected(fmt::format(
            "{}: others may read this private key; run `chmod 600` on it", path.string()));
    SignerKey key{PEM_read_PrivateKey(file.get(), nullptr, nullptr, nullptr)};
    if (!key.key_ || !is_signer_key(key.key_.get()))
        return std::unexpected(fmt::format(
            "{}: not an RSA private key with 3072 bits and exponent 3, in PEM", path.string()));
    return key;
}

std::expected<void, std::string> SignerKey::save(const std::filesystem::path& path) const {
    const int descriptor =
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    const Owned<std::FILE> file{descriptor < 0 ? nullptr : ::fdopen(descriptor, "w")};
    if (!file) return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    if (PEM_write_PrivateKey(file.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
        std::fflush(file.get()) != 0)
        return std::unexpected(fmt::format("{}: could not be written", path.string()));
    return {};
}

Sigstruct describe_enclave(const wire::Digest& mrenclave, const SigningOptions& options) {
    Sigstruct sigstruct{};
    sigstruct.header = kSigstructHeader;
    sigstruct.header2 = kSigstructHeader2;
    sigstruct.date = options.date;
    sigstruct.miscmask = ~std::uint32_t{0};
    sigstruct.cet_attributes_mask = 0xff;
    sigstruct.attributes.flags =
        kAttributeMode64 | (options.debug ? kAttributeDebug : std::uint64_t{0});
    sigstruct.attributes.xfrm = options.xfrm;
    // INIT is the CPU's own.
    sigstruct.attributemask = {.flags = ~std::uint64_t{kAttributeInit},
                               .xfrm = ~options.optional_xfrm | options.xfrm};
    sigstruct.enclavehash = mrenclave;
    sigstruct.isvprodid = options.isv_prod_id;
    sigstruct.isvsvn = options.isv_svn;
    return sigstruct;
}

std::expected<Sigstruct, std::string> sign_sigstruct(Sigstruct sigstruct, const SignerKey& key) {
    BIGNUM* modulus = nullptr;
    if (EVP_PKEY_get_bn_param(key.key_.get(), OSSL_PKEY_PARAM_RSA_N, &modulus) != 1)
        return std::unexpected("OpenSSL does not give the modulus of the signer's key");
    const Owned<BIGNUM> n{modulus};

    const Owned<EVP_MD_CTX> context{EVP_MD_CTX_new()};
    const auto message = signed_bytes(sigstruct);
    Number signature{};
    std::size_t size = signature.size();
    if (!context ||
        EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.key_.get()) != 1 ||
        EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) !=
            1 ||
        size != signature.size())
        return std::unexpected("OpenSSL could not sign");
    return with_signature(sigstruct, n.get(), signature);
}

wire::Digest signing_digest(const Sigstruct& sigstruct) {
    const auto message = signed_bytes(sigstruct);
    wire::Digest digest{};
    SHA256(message.data(), message.size(), digest.data());
    return digest;
}

std::expected<Sigstruct, std::string> complete_sigstruct(Sigstruct sigstruct, Bytes signature,
                                                         const std::filesystem::path& public_key) {
    const Owned<std::FILE> file{std::fopen(public_key.c_str(), "re")};
    if (!file)
        return std::unexpected(fmt::format("{}: {}", public_key.string(), std::strerror(errno)));
    const Owned<EVP_PKEY> key{PEM_read_PUBKEY(file.get(), nullptr, nullptr, nullptr)};
    BIGNUM* modulus = nullptr;
    if (!key || !is_signer_key(key.get()) ||
        EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_N, &modulus) != 1)
        return std::unexpected(
            fmt::format("{}: not an RSA public key with 3072 bits and exponent 3, in PEM",
                        public_key.string()));
    const Owned<BIGNUM> n{modulus};
    if (signature.size() != kKeyBytes)
        return std::unexpected(
            fmt::format("a signature has {} bytes, this one has {}", kKeyBytes, signature.size()));
    const auto completed = with_signature(sigstruct, n.get(), signature.first<kKeyBytes>());
    if (!completed) return completed;
    return verify_sigstruct(bytes_of(*completed));
}

std::expected<Sigstruct, std::string> verify_sigstruct(Bytes bytes) {
    if (bytes.size() != sizeof(Sigstruct))
        return std::unexpected(fmt::format("a SIGSTRUCT has {} bytes, this one has {}",
                                           sizeof(Sigstruct), bytes.size()));
    const Sigstruct sigstruct = *Reader{bytes}.take<Sigstruct>();
    if (sigstruct.header != kSigstructHeader) return bad_field("HEADER", "is not SGX's");
    if (sigstruct.vendor != 0 && sigstruct.vendor != kVendorIntel)
        return bad_field("VENDOR", "is neither 0 nor 0x8086");
    if (sigstruct.header2 != kSigstructHeader2) return bad_field("HEADER2", "is not SGX's");
    if (sigstruct.exponent != 3) return bad_field("EXPONENT", "is not 3");
    if (!all_zero(sigstruct.reserved_44) || !all_zero(sigstruct.reserved_910) ||
        !all_zero(sigstruct.reserved_992) || !all_zero(sigstruct.reserved_1028))
        return bad_field("RESERVED", "is not zero");

    const auto n = number(sigstruct.modulus);
    const auto s = number(sigstruct.signature);
    if (!n || !s) return std::unexpected("out of memory");
    if (BN_num_bits(n.get()) != kKeyBits || BN_is_odd(n.get()) != 1)
        return bad_field("MODULUS", "is no RSA-3072 modulus");
    if (BN_cmp(s.get(), n.get()) >= 0) return bad_field("SIGNATURE", "is not below the modulus");
    const auto expected = powers(s.get(), n.get());
    if (!expected) return std::unexpected(expected.error());
    Number message = expected->message;
    std::reverse(message.begin(), message.end());
    if (message != padded_digest(sigstruct))
        return bad_field("SIGNATURE",
                         "does not verify: it was made over other contents, or by "
                         "another key");
    if (sigstruct.q1 != expected->q1) return bad_field("Q1", "does not belong to the signature");
    if (sigstruct.q2 != expected->q2) return bad_field("Q2", "does not belong to the signature");
    return sigstruct;
}

std::expected<void, std::string> check_enclave(const Sigstruct& sigstruct,
                                               const wire::Digest& mrenclave,
                                               const Attributes& attributes,
                                               std::uint32_t miscselect) {
    if (sigstruct.enclavehash != mrenclave)
        return bad_field("ENCLAVEHASH",
                         "is not the measurement of this image: one of the two was changed");
    const Attributes& mask = sigstruct.attributemask;
    if ((attributes.flags & mask.flags) != (sigstruct.attributes.flags & mask.flags) ||
        (attributes.xfrm & mask.xfrm) != (sigstruct.attributes.xfrm & mask.xfrm))
        return bad_field("ATTRIBUTES", "does not allow the attributes of this enclave");
    if ((attributes.xfrm & kXfrmLegacy) != kXfrmLegacy)
        return bad_field("ATTRIBUTES", "has an XFRM without x87 and SSE");
    if ((miscselect & sigstruct.miscmask) != (sigstruct.miscselect & sigstruct.miscmask))
        return bad_field("MISCSELECT", "does not allow that of this enclave");
    return {};
}

Attributes attributes_for(const Sigstruct& sigstruct, std::uint64_t offered_xfrm) {
    Attributes attributes = sigstruct.attributes;
    attributes.flags &= ~std::uint64_t{kAttributeInit};
    // All three parts of AVX-512's state or none (SDM vol. 1, 13.3).
    if ((sigstruct.attributemask.xfrm & kXfrmAvx512) != 0) return attributes;
    const bool offered = (offered_xfrm & kXfrmAvx512) == kXfrmAvx512;
    attributes.xfrm = (attributes.xfrm & ~kXfrmAvx512) | (offered ? kXfrmAvx512 : 0);
    return attributes;
}

wire::Digest mrsigner(const Sigstruct& sigstruct) {
    wire::Digest digest{};
    SHA256(sigstruct.modulus.data(), sigstruct.modulus.size(), digest.data());
    return digest;
}

}  // namespace sgm::sgx
