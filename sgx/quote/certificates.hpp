// SPDX-License-Identifier: MIT
// The certificates behind a quote: the root that the verifier pins, and the chain that a quote
// brings along.
#pragma once

#include <openssl/x509.h>

#include <chrono>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "sgx/quote/p256.hpp"

namespace sgm::sgx {

using CertificatePointer = std::unique_ptr<X509, OpensslDeleter<X509_free>>;

// The common name of every software root begins with this, and a PCK certificate under it, too.
inline constexpr std::string_view kSoftwareName = "SGmonitor SOFTWARE SGX";

// Marks a PCK certificate; holds FMSPC, PPID and TCB of the machine (Intel "SGX PCK Certificate and
// CRL Profile Specification", 1.3.5).
inline constexpr char kSgxExtensionsOid[] = "1.2.840.113741.1.13.1";

// PEM, one certificate after the other, exactly as OpenSSL would write them, and after them at
// most one NUL (real quotes end in one): two byte strings never mean the same chain.
// Errors: certificates.
[[nodiscard]] std::expected<std::vector<CertificatePointer>, QuoteError> parse_certificates(
    Bytes pem);

// A root that the operator decided to trust. Not checked against any list: that decision is the
// whole trust in it.
class RootCertificate final {
  public:
    // One self-signed CA certificate. The error is a clause that follows the file's name.
    [[nodiscard]] static std::expected<RootCertificate, std::string> from_pem(std::string_view pem);

    // Whether it says of itself that it is the root of a software SGX: no hardware protects what
    // is quoted under it.
    [[nodiscard]] bool is_software() const;

    [[nodiscard]] X509* certificate() const { return certificate_.get(); }

  private:
    explicit RootCertificate(CertificatePointer certificate)
        : certificate_{std::move(certificate)} {}
    CertificatePointer certificate_;
};

// The P-256 key of the PCK certificate in `pem`, when `pem` holds one chain from it up to `root`,
// nothing else, and all of it valid at `when`. The order does not matter.
// Errors: certificates, root, chain, validity, pck_certificate.
[[nodiscard]] std::expected<KeyPointer, QuoteError> pck_key(Bytes pem, const RootCertificate& root,
                                                            std::chrono::sys_seconds when);

}  // namespace sgm::sgx
