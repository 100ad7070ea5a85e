// SPDX-License-Identifier: MIT
#include "sgx/quote/verify.hpp"

#include <openssl/err.h>

#include <algorithm>

#include "crypto/hash.hpp"

namespace sgm::sgx {

ReportData qe_report_data(const P256Point& attestation_key, Bytes qe_auth_data) {
    ReportData data{};
    std::ranges::copy(crypto::sha256({attestation_key, qe_auth_data}), data.begin());
    return data;
}

std::expected<void, QuoteError> verify_quote(const Quote& quote, const RootCertificate& root,
                                             std::chrono::sys_seconds when) {
    // OpenSSL's queue of errors belongs to the thread: leave nothing on it.
    struct ClearErrors {
        ~ClearErrors() { ERR_clear_error(); }
    } const clear_errors;

    const auto pck = pck_key(quote.certificates, root, when);
    if (!pck) return std::unexpected(pck.error());
    if (!p256_verify(**pck, quote.qe_signature, quote.qe_report_bytes)) {
        return std::unexpected(QuoteError::qe_signature);
    }
    if (quote.qe_report.report_data != qe_report_data(quote.attestation_key, quote.qe_auth_data)) {
        return std::unexpected(QuoteError::qe_binding);
    }
    const KeyPointer key = p256_key(quote.attestation_key);
    if (!key) return std::unexpected(QuoteError::attestation_key);
    if (!p256_verify(*key, quote.signature, quote.signed_bytes)) {
        return std::unexpected(QuoteError::signature);
    }
    return {};
}

}  // namespace sgm::sgx
