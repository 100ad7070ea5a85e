// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/quoting.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>

#include "config/file.hpp"
#include "crypto/hash.hpp"
#include "crypto/secret.hpp"
#include "sgx/loader/soft/platform.hpp"
#include "sgx/quote/certificates.hpp"
#include "sgx/quote/p256.hpp"
#include "sgx/quote/quote.hpp"
#include "sgx/quote/verify.hpp"

namespace sgm::sgx::soft {
namespace {

using BioPointer = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;
using ExtensionPointer = std::unique_ptr<X509_EXTENSION, OpensslDeleter<X509_EXTENSION_free>>;

constexpr const char* kRootFile = "root.pem";
constexpr const char* kQuotingFile = "quoting.pem";

constexpr char kRootName[] = "SGmonitor SOFTWARE SGX root, NOT INTEL, no hardware protection";
constexpr char kPckName[] = "SGmonitor SOFTWARE SGX platform, NOT INTEL";
static_assert(std::string_view{kRootName}.starts_with(kSoftwareName));
static_assert(std::string_view{kPckName}.starts_with(kSoftwareName));

// In every quote, where Intel's quoting enclave puts its authentication data: whoever looks at
// the bytes reads what they are.
constexpr std::string_view kAuthData = "SOFTWARE SGX, NOT INTEL";
constexpr std::array<std::uint8_t, 16> kVendorId = {'S', 'G', 'm', 'o', 'n', 'i', 't', 'o',
                                                    'r', ' ', 's', 'o', 'f', 't', 0,   0};

constexpr std::chrono::days kLifetime{20 * 365};
// The authority's clock may be behind this machine's.
constexpr std::chrono::hours kClockSlack{24};

// The value of the extension that marks a PCK certificate, DER: SEQUENCE { SEQUENCE { OID FMSPC
// (1.2.840.113741.1.13.1.4), OCTET STRING } }, where the FMSPC is all zero: no machine of Intel's.
constexpr std::array<std::uint8_t, 24> kSgxExtensions = {
    0x30, 0x16, 0x30, 0x14, 0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d,
    0x01, 0x0d, 0x01, 0x04, 0x04, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

Bytes as_bytes(std::string_view words) {
    return {reinterpret_cast<const std::uint8_t*>(words.data()), words.size()};
}

std::unexpected<std::string> openssl_failed(std::string_view what) {
    const unsigned long code = ERR_get_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    ERR_clear_error();
    return std::unexpected("OpenSSL cannot " + std::string{what} + ": " +
                           (reason == nullptr ? "no reason given" : reason));
}

// --- certificates

bool add_extension(X509& certificate, X509& issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, &issuer, &certificate, nullptr, nullptr, 0);
    const ExtensionPointer extension{X509V3_EXT_conf_nid(nullptr, &context, nid, value)};
    return extension && X509_add_ext(&certificate, extension.get(), -1) == 1;
}

bool add_sgx_extensions(X509& certificate) {
    const std::unique_ptr<ASN1_OBJECT, OpensslDeleter<ASN1_OBJECT_free>> oid{
        OBJ_txt2obj(kSgxExtensionsOid, 1)};
    const std::unique_ptr<ASN1_OCTET_STRING, OpensslDeleter<ASN1_OCTET_STRING_free>> value{
        ASN1_OCTET_STRING_new()};
    if (!oid || !value ||
        ASN1_OCTET_STRING_set(value.get(), kSgxExtensions.data(), kSgxExtensions.size()) != 1) {
        return false;
    }
    const ExtensionPointer extension{
        X509_EXTENSION_create_by_OBJ(nullptr, oid.get(), /*crit=*/0, value.get())};
    return extension && X509_add_ext(&certificate, extension.get(), -1) == 1;
}

// Unsigned, without extensions. Null when OpenSSL fails.
CertificatePointer new_certificate(const char* subject, const char* issuer, EVP_PKEY& key) {
    CertificatePointer certificate{X509_new()};
    std::array<std::uint8_t, 16> serial;
    if (!certificate || RAND_bytes(serial.data(), serial.size()) != 1) return nullptr;
    serial[0] &= 0x7f;  // positive
    const std::unique_ptr<BIGNUM, OpensslDeleter<BN_free>> number{
        BN_bin2bn(serial.data(), serial.size(), nullptr)};
    const auto add_name = [](X509_NAME* name, const char* text) {
        return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC,
                                          reinterpret_cast<const unsigned char*>(text), -1, -1,
                                          0) == 1;
    };
    const auto seconds = [](auto duration) {
        return static_cast<long>(
            std::chrono::duration_cast<std::chrono::seconds>(duration).count());
    };
    if (!number || X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
        BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) == nullptr ||
        X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -seconds(kClockSlack)) == nullptr ||
        X509_gmtime_adj(X509_getm_notAfter(certificate.get()), seconds(kLifetime)) == nullptr ||
        !add_name(X509_get_subject_name(certificate.get()), subject) ||
        !add_name(X509_get_issuer_name(certificate.get()), issuer) ||
        X509_set_pubkey(certificate.get(), &key) != 1) {
        return nullptr;
    }
    return certificate;
}

struct Identity {
    KeyPointer pck_key;
    CertificatePointer pck;
    CertificatePointer root;
};

std::expected<Identity, std::string> new_identity() {
    const KeyPointer root_key = generate_p256_key();
    Identity made{.pck_key = generate_p256_key(), .pck = nullptr, .root = nullptr};
    if (!root_key || !made.pck_key) return openssl_failed("make a P-256 key");
    made.root = new_certificate(kRootName, kRootName, *root_key);
    made.pck = new_certificate(kPckName, kRootName, *made.pck_key);
    if (!made.root || !made.pck) return openssl_failed("make a certificate");

    X509& root = *made.root;
    X509& pck = *made.pck;
    if (!add_extension(root, root, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(root, root, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(root, root, NID_subject_key_identifier, "hash") ||
        X509_sign(&root, root_key.get(), EVP_sha256()) == 0 ||
        !add_extension(pck, root, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(pck, root, NID_key_usage, "critical,digitalSignature,nonRepudiation") ||
        !add_extension(pck, root, NID_subject_key_identifier, "hash") ||
        !add_extension(pck, root, NID_authority_key_identifier, "keyid") ||
        !add_sgx_extensions(pck) || X509_sign(&pck, root_key.get(), EVP_sha256()) == 0) {
        return openssl_failed("sign a certificate");
    }
    return made;
}

// --- files

// A string that held a private key.
struct WipedString {
    WipedString() = default;
    explicit WipedString(std::string content) : value{std::move(content)} {}
    ~WipedString() { crypto::wipe({reinterpret_cast<std::uint8_t*>(value.data()), value.size()}); }
    WipedString(const WipedString&) = delete;
    WipedString& operator=(const WipedString&) = delete;
    std::string value;
};

std::string_view content(BIO& bio) {
    const char* data = nullptr;
    const long size = BIO_get_mem_data(&bio, &data);
    return size <= 0 ? std::string_view{} : std::string_view{data, static_cast<std::size_t>(size)};
}

KeyPointer read_private_key(std::string_view pem) {
    const BioPointer bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    const auto no_password = [](char*, int, int, void*) { return -1; };
    return KeyPointer{bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr)
                          : nullptr};
}

// --- what the "enclave" says of itself

ReportBody identity_report() {
    static const wire::Digest kMrenclave =
        crypto::sha256(as_bytes("SGmonitor SOFTWARE quoting enclave v1, NOT INTEL, no enclave\n"));
    static const wire::Digest kMrsigner =
        crypto::sha256(as_bytes("SGmonitor SOFTWARE quoting enclave signer, NOT INTEL\n"));
    ReportBody body{};
    body.cpusvn = kSoftCpuSvn;
    body.attributes = {.flags = kAttributeInit | kAttributeMode64 | kAttributeProvisionKey,
                       .xfrm = kXfrmLegacy};
    body.mrenclave = kMrenclave;
    body.mrsigner = kMrsigner;
    body.isvprodid = 1;
    body.isvsvn = 1;
    return body;
}

}  // namespace

struct QuotingEnclave::State {
    State(FuseKey fuse_key, KeyPointer attestation, P256Point point, ReportBody report,
          P256Signature report_signature, std::string certificates)
        : platform{std::move(fuse_key)},
          attestation_key{std::move(attestation)},
          attestation_point{point},
          qe_report{report},
          qe_signature{report_signature},
          chain{std::move(certificates)} {}

    SoftPlatform platform;
    KeyPointer attestation_key;
    P256Point attestation_point;
    ReportBody qe_report;
    P256Signature qe_signature;  // by the PCK key, over qe_report
    std::string chain;           // PEM: PCK certificate, root
};

QuotingEnclave::QuotingEnclave(std::unique_ptr<State> state) : state_{std::move(state)} {}
QuotingEnclave::QuotingEnclave(QuotingEnclave&&) noexcept = default;
QuotingEnclave& QuotingEnclave::operator=(QuotingEnclave&&) noexcept = default;
QuotingEnclave::~QuotingEnclave() = default;

std::expected<void, std::string> QuotingEnclave::create(const std::filesystem::path& directory) {
    const auto identity = new_identity();
    if (!identity) return std::unexpected(identity.error());
    const BioPointer root{BIO_new(BIO_s_mem())};
    const BioPointer quoting{BIO_new(BIO_s_secmem())};
    if (!root || !quoting || PEM_write_bio_X509(root.get(), identity->root.get()) != 1 ||
        PEM_write_bio_PrivateKey(quoting.get(), identity->pck_key.get(), nullptr, nullptr, 0,
                                 nullptr, nullptr) != 1 ||
        PEM_write_bio_X509(quoting.get(), identity->pck.get()) != 1) {
        return openssl_failed("write a certificate");
    }

    if (const auto made = config::make_directory(directory); !made) {
        return std::unexpected(made.error().sentence);
    }
    // quoting.pem last: without it there is no identity, and create() may run again.
    if (std::filesystem::exists(directory / kQuotingFile)) {
        return std::unexpected((directory / kQuotingFile).string() +
                               " is there already: this machine has its software SGX root");
    }
    if (const auto written = config::write_file(directory / kRootFile, content(*root), 0644,
                                                config::IfExists::replace);
        !written) {
        return std::unexpected(written.error().sentence);
    }
    if (const auto written = config::write_file(directory / kQuotingFile, content(*quoting), 0600,
                                                config::IfExists::refuse);
        !written) {
        return std::unexpected(written.error().sentence);
    }
    return {};
}

std::expected<QuotingEnclave, std::string> QuotingEnclave::load(
    const std::filesystem::path& directory, const std::filesystem::path& fuse_key) {
    const auto root_pem = config::read_file(directory / kRootFile);
    if (!root_pem) return std::unexpected(root_pem.error().sentence);
    auto quoting_text = config::read_private_file(directory / kQuotingFile);
    if (!quoting_text) return std::unexpected(quoting_text.error().sentence);
    const WipedString quoting{std::move(*quoting_text)};
    const auto useless = [&directory](std::string_view why) {
        return std::unexpected("the software SGX identity in " + directory.string() +
                               " is of no use: " + std::string{why} + ". Remove " + kRootFile +
                               " and " + kQuotingFile + " there to have a new one made");
    };

    const KeyPointer key = read_private_key(quoting.value);
    const auto pck_begin = quoting.value.find("-----BEGIN CERTIFICATE-----");
    ERR_clear_error();
    if (!key || pck_begin == std::string::npos) return useless("quoting.pem is damaged");
    const auto root = RootCertificate::from_pem(*root_pem);
    if (!root) return useless("root.pem: " + root.error());
    if (!root->is_software()) return useless("root.pem is not a software SGX root");
    std::string chain = quoting.value.substr(pck_begin) + *root_pem;
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    const auto certified = pck_key(as_bytes(chain), *root, now);
    if (!certified) return useless(text(certified.error()));
    if (EVP_PKEY_eq(key.get(), certified->get()) != 1) {
        return useless("quoting.pem holds a key and a certificate that do not belong together");
    }

    KeyPointer attestation_key = generate_p256_key();
    const auto point = attestation_key ? p256_point(*attestation_key) : std::optional<P256Point>{};
    if (!point) return openssl_failed("make a P-256 key");
    ReportBody report = identity_report();
    report.report_data = qe_report_data(*point, as_bytes(kAuthData));
    const auto signature = p256_sign(*key, bytes_of(report));
    if (!signature) return openssl_failed("sign the software quoting enclave's report");

    auto fuse = load_or_create_fuse_key(fuse_key);
    if (!fuse) return std::unexpected(fuse.error());
    return QuotingEnclave{std::make_unique<State>(std::move(*fuse), std::move(attestation_key),
                                                  *point, report, *signature, std::move(chain))};
}

std::expected<QuotingEnclave, std::string> QuotingEnclave::load_or_create(
    const std::filesystem::path& directory, const std::filesystem::path& fuse_key) {
    if (!std::filesystem::exists(directory / kQuotingFile)) {
        if (const auto created = create(directory); !created) {
            return std::unexpected(created.error());
        }
    }
    return load(directory, fuse_key);
}

TargetInfo QuotingEnclave::target_info() {
    const ReportBody self = identity_report();
    TargetInfo target{};
    target.measurement = self.mrenclave;
    target.attributes = self.attributes;
    return target;
}

std::expected<std::vector<std::uint8_t>, std::string> QuotingEnclave::quote(Bytes report) const {
    Reader reader{report};
    const auto parsed = reader.take<Report>();
    if (!parsed || !reader.empty()) {
        return std::unexpected("a report has " + std::to_string(sizeof(Report)) + " bytes, not " +
                               std::to_string(report.size()));
    }
    if (!state_->platform.verify_report(*parsed, target_info())) {
        return std::unexpected(
            "the report was not made by an enclave of this machine for its quoting enclave");
    }

    const QuoteHeader header{.version = kQuoteVersion,
                             .key_type = kQuoteKeyEcdsaP256,
                             .tee_type = 0,
                             .qe_svn = state_->qe_report.isvsvn,
                             .pce_svn = 0,
                             .vendor_id = kVendorId,
                             .user_data = {}};
    std::vector<std::uint8_t> quote;
    const auto put = [&quote](Bytes bytes) {
        quote.insert(quote.end(), bytes.begin(), bytes.end());
    };
    put(bytes_of(header));
    put(bytes_of(parsed->body));
    const auto signature = p256_sign(*state_->attestation_key, quote);
    if (!signature) return openssl_failed("sign a quote");

    std::vector<std::uint8_t> data;
    const auto put_data = [&data](Bytes bytes) {
        data.insert(data.end(), bytes.begin(), bytes.end());
    };
    put_data(*signature);
    put_data(state_->attestation_point);
    put_data(bytes_of(state_->qe_report));
    put_data(state_->qe_signature);
    put_data(bytes_of(static_cast<std::uint16_t>(kAuthData.size())));
    put_data(as_bytes(kAuthData));
    put_data(bytes_of(kCertificationPckChain));
    put_data(bytes_of(static_cast<std::uint32_t>(state_->chain.size())));
    put_data(as_bytes(state_->chain));
    put(bytes_of(static_cast<std::uint32_t>(data.size())));
    put(data);
    return quote;
}

}  // namespace sgm::sgx::soft
