// SPDX-License-Identifier: MIT
#include "sgx/quote/p256.hpp"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace sgm::sgx {
namespace {

constexpr char kGroup[] = "prime256v1";
constexpr std::uint8_t kUncompressed = 4;  // SEC 1, 2.3.3: then x and y follow
using EncodedPoint = std::array<std::uint8_t, 65>;

using ContextPointer = std::unique_ptr<EVP_PKEY_CTX, OpensslDeleter<EVP_PKEY_CTX_free>>;
using DigestContextPointer = std::unique_ptr<EVP_MD_CTX, OpensslDeleter<EVP_MD_CTX_free>>;
using SignaturePointer = std::unique_ptr<ECDSA_SIG, OpensslDeleter<ECDSA_SIG_free>>;
using NumberPointer = std::unique_ptr<BIGNUM, OpensslDeleter<BN_free>>;

}  // namespace

KeyPointer generate_p256_key() {
    return KeyPointer{EVP_EC_gen(kGroup)};
}

KeyPointer p256_key(const P256Point& point) {
    EncodedPoint encoded{kUncompressed};
    std::ranges::copy(point, encoded.begin() + 1);
    char group[] = "prime256v1";
    const std::array<OSSL_PARAM, 3> parameters = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, encoded.data(), encoded.size()),
        OSSL_PARAM_construct_end()};
    const ContextPointer context{EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr)};
    EVP_PKEY* key = nullptr;
    if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
        EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY,
                          const_cast<OSSL_PARAM*>(parameters.data())) != 1) {
        return nullptr;
    }
    return KeyPointer{key};
}

bool is_p256(const EVP_PKEY& key) {
    std::array<char, 32> name{};
    return EVP_PKEY_is_a(&key, "EC") == 1 &&
           EVP_PKEY_get_group_name(&key, name.data(), name.size(), nullptr) == 1 &&
           std::string_view{name.data()} == kGroup;
}

std::optional<P256Point> p256_point(const EVP_PKEY& key) {
    EncodedPoint encoded{};
    std::size_t size = 0;
    if (!is_p256(key) ||
        EVP_PKEY_get_octet_string_param(&key, OSSL_PKEY_PARAM_PUB_KEY, encoded.data(),
                                        encoded.size(), &size) != 1 ||
        size != encoded.size() || encoded[0] != kUncompressed) {
        return std::nullopt;
    }
    P256Point point;
    std::copy(encoded.begin() + 1, encoded.end(), point.begin());
    return point;
}

std::optional<P256Signature> p256_sign(EVP_PKEY& key, Bytes message) {
    const DigestContextPointer context{EVP_MD_CTX_new()};
    std::array<std::uint8_t, 80> der;
    std::size_t size = der.size();
    if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, &key) != 1 ||
        EVP_DigestSign(context.get(), der.data(), &size, message.data(), message.size()) != 1) {
        return std::nullopt;
    }
    const std::uint8_t* next = der.data();
    const SignaturePointer parsed{d2i_ECDSA_SIG(nullptr, &next, static_cast<long>(size))};
    P256Signature signature;
    if (!parsed || BN_bn2binpad(ECDSA_SIG_get0_r(parsed.get()), signature.data(), 32) != 32 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(parsed.get()), signature.data() + 32, 32) != 32) {
        return std::nullopt;
    }
    return signature;
}

bool p256_verify(EVP_PKEY& key, const P256Signature& signature, Bytes message) {
    const SignaturePointer parsed{ECDSA_SIG_new()};
    NumberPointer r{BN_bin2bn(signature.data(), 32, nullptr)};
    NumberPointer s{BN_bin2bn(signature.data() + 32, 32, nullptr)};
    if (!parsed || !r || !s) return false;
    // Takes both numbers.
    if (ECDSA_SIG_set0(parsed.get(), r.release(), s.release()) != 1) return false;
    unsigned char* der = nullptr;
    const int size = i2d_ECDSA_SIG(parsed.get(), &der);
    if (size <= 0) return false;
    const std::vector<std::uint8_t> encoded{der, der + size};
    OPENSSL_free(der);

    const DigestContextPointer context{EVP_MD_CTX_new()};
    return context &&
           EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, &key) == 1 &&
           EVP_DigestVerify(context.get(), encoded.data(), encoded.size(), message.data(),
                            message.size()) == 1;
}

}  // namespace sgm::sgx
