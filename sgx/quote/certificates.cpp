// SPDX-License-Identifier: MIT
#include "sgx/quote/certificates.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>

namespace sgm::sgx {
namespace {

using BioPointer = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;
using ObjectPointer = std::unique_ptr<ASN1_OBJECT, OpensslDeleter<ASN1_OBJECT_free>>;
using StorePointer = std::unique_ptr<X509_STORE, OpensslDeleter<X509_STORE_free>>;
using StoreContextPointer = std::unique_ptr<X509_STORE_CTX, OpensslDeleter<X509_STORE_CTX_free>>;

// Owns the stack, not the certificates on it.
struct StackDeleter {
    void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
using StackPointer = std::unique_ptr<STACK_OF(X509), StackDeleter>;

// Leaf, two intermediates, root; Intel's chains have three.
constexpr std::size_t kMaxCertificates = 4;

// Of a root's PEM: far more than any certificate has.
constexpr std::size_t kMaxRootFile = 1024 * 1024;

// Never asks anybody for the password of a PEM block that claims to be encrypted.
int no_password(char*, int, int, void*) {
    return -1;
}

// What the canonical PEM of `certificates` is; empty when OpenSSL cannot write it.
std::string to_pem(const std::vector<CertificatePointer>& certificates) {
    const BioPointer bio{BIO_new(BIO_s_mem())};
    if (!bio) return {};
    for (const auto& certificate : certificates) {
        if (PEM_write_bio_X509(bio.get(), certificate.get()) != 1) return {};
    }
    const char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return size <= 0 ? std::string{} : std::string{data, static_cast<std::size_t>(size)};
}

std::vector<std::uint8_t> to_der(X509* certificate) {
    unsigned char* data = nullptr;
    const int size = i2d_X509(certificate, &data);
    if (size <= 0) return {};
    const std::vector<std::uint8_t> der{data, data + size};
    OPENSSL_free(data);
    return der;
}

bool is_ca(X509* certificate) {
    return (X509_get_extension_flags(certificate) & EXFLAG_CA) != 0;
}

bool is_pck(X509* certificate) {
    const ObjectPointer oid{OBJ_txt2obj(kSgxExtensionsOid, 1)};
    const EVP_PKEY* key = X509_get0_pubkey(certificate);
    return oid && X509_get_ext_by_OBJ(certificate, oid.get(), -1) >= 0 &&
           (X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE) != 0 && key != nullptr &&
           is_p256(*key);
}

}  // namespace

std::expected<std::vector<CertificatePointer>, QuoteError> parse_certificates(Bytes pem) {
    if (!pem.empty() && pem.back() == 0) pem = pem.first(pem.size() - 1);
    if (pem.size() > wire::kMaxQuoteSize) return std::unexpected(QuoteError::certificates);
    const BioPointer bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    if (!bio) return std::unexpected(QuoteError::certificates);

    std::vector<CertificatePointer> certificates;
    while (BIO_pending(bio.get()) > 0 && certificates.size() < kMaxCertificates) {
        CertificatePointer next{PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)};
        if (!next) break;
        certificates.push_back(std::move(next));
    }
    ERR_clear_error();
    const std::string canonical = to_pem(certificates);
    if (canonical.empty() || !std::ranges::equal(pem, canonical, {}, {}, [](char c) {
            return static_cast<std::uint8_t>(c);
        })) {
        return std::unexpected(QuoteError::certificates);
    }
    return certificates;
}

std::expected<RootCertificate, std::string> RootCertificate::from_pem(std::string_view pem) {
    if (pem.size() > kMaxRootFile) return std::unexpected("it is larger than a certificate");
    // The operator's own file: how it is laid out does not matter, but it must be unambiguous.
    const BioPointer bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    const auto next = [&bio] {
        return CertificatePointer{bio ? PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)
                                      : nullptr};
    };
    CertificatePointer root = next();
    const bool alone = root && !next();
    ERR_clear_error();
    if (!alone) return std::unexpected("it is not one certificate in PEM form");
    if (!is_ca(root.get()) || X509_self_signed(root.get(), /*verify_signature=*/1) != 1) {
        ERR_clear_error();
        return std::unexpected("it is not a self-signed CA certificate");
    }
    return RootCertificate{std::move(root)};
}

bool RootCertificate::is_software() const {
    const X509_NAME* name = X509_get_subject_name(certificate_.get());
    const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (index < 0) return false;
    const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index));
    const std::string_view text{reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                                static_cast<std::size_t>(ASN1_STRING_length(value))};
    return text.starts_with(kSoftwareName);
}

std::expected<KeyPointer, QuoteError> pck_key(Bytes pem, const RootCertificate& root,
                                              std::chrono::sys_seconds when) {
    const auto certificates = parse_certificates(pem);
    if (!certificates) return std::unexpected(certificates.error());

    const auto root_der = to_der(root.certificate());
    X509* leaf = nullptr;
    bool has_root = false;
    const StackPointer others{sk_X509_new_null()};
    if (!others || root_der.empty()) return std::unexpected(QuoteError::chain);
    for (const auto& certificate : *certificates) {
        if (is_ca(certificate.get())) {
            if (to_der(certificate.get()) == root_der) has_root = true;
            if (sk_X509_push(others.get(), certificate.get()) == 0) {
                return std::unexpected(QuoteError::chain);
            }
        } else if (leaf == nullptr) {
            leaf = certificate.get();
        } else {
            return std::unexpected(QuoteError::chain);
        }
    }
    if (!has_root) return std::unexpected(QuoteError::root);
    if (leaf == nullptr || !is_pck(leaf)) return std::unexpected(QuoteError::pck_certificate);

    const StorePointer store{X509_STORE_new()};
    const StoreContextPointer context{X509_STORE_CTX_new()};
    if (!store || !context || X509_STORE_add_cert(store.get(), root.certificate()) != 1 ||
        X509_STORE_CTX_init(context.get(), store.get(), leaf, others.get()) != 1) {
        return std::unexpected(QuoteError::chain);
    }
    X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_auth_level(parameters, 3);  // 128 bits: P-256 and SHA-256
    X509_VERIFY_PARAM_set_time(parameters, when.time_since_epoch().count());
    const bool verified = X509_verify_cert(context.get()) == 1;
    ERR_clear_error();
    if (!verified) {
        switch (X509_STORE_CTX_get_error(context.get())) {
            case X509_V_ERR_CERT_NOT_YET_VALID:
            case X509_V_ERR_CERT_HAS_EXPIRED: return std::unexpected(QuoteError::validity);
            default: return std::unexpected(QuoteError::chain);
        }
    }
    // Every certificate has its place in the chain; none is there for nothing.
    const auto used = sk_X509_num(X509_STORE_CTX_get0_chain(context.get()));
    if (static_cast<std::size_t>(used) != certificates->size()) {
        return std::unexpected(QuoteError::chain);
    }
    KeyPointer key{X509_get_pubkey(leaf)};
    if (!key) return std::unexpected(QuoteError::pck_certificate);
    return key;
}

}  // namespace sgm::sgx
