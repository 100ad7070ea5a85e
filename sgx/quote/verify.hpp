// SPDX-License-Identifier: MIT
// Whether a quote's signatures lead up to a pinned root.
//
// NOT judged here: the TCB level of the machine, the identity of the quoting enclave, revocation
// (TCB info, QE identity and CRLs: Intel's "collateral"), nor the policy on the enclave that was
// quoted. Without collateral a quote from a machine that is known to be broken, or made by a
// quoting enclave that is not Intel's, still verifies. The authority therefore does not accept
// hardware quotes yet; under a software root there is no collateral to judge.
#pragma once

#include <chrono>
#include <expected>

#include "sgx/quote/certificates.hpp"
#include "sgx/quote/quote.hpp"

namespace sgm::sgx {

// Checks, in this order: the certificates up to `root`, valid at `when`; the quoting enclave's
// report under the PCK key; that this report binds the attestation key; the quote under that key.
[[nodiscard]] std::expected<void, QuoteError> verify_quote(const Quote& quote,
                                                           const RootCertificate& root,
                                                           std::chrono::sys_seconds when);

// What a quoting enclave's report carries for its attestation key: SHA-256(key ‖ authentication
// data), then zeros.
[[nodiscard]] ReportData qe_report_data(const P256Point& attestation_key, Bytes qe_auth_data);

}  // namespace sgm::sgx
