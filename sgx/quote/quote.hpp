// SPDX-License-Identifier: MIT
// The layout of a DCAP quote, version 3 (Intel "SGX ECDSA Quote Library Reference", appendix A.4),
// and its parser. The host controls every byte of a quote until it has been verified.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string_view>

#include "sgx/image/arch.hpp"
#include "wire/attestation.hpp"
#include "wire/bytes.hpp"

namespace sgm::sgx {

enum class QuoteError {
    truncated,           // ends before a field that it announces
    surplus_bytes,       // goes on after its last field
    too_large,           // more than wire::kMaxQuoteSize
    version,             // not version 3
    key_type,            // not ECDSA over P-256
    not_sgx,             // of another kind of TEE
    certification_type,  // the certification data is no PEM chain (type 5)
    certificates,        // the PEM is not well-formed, or not in the one form that has no slack
    root,                // the chain does not contain the pinned root
    chain,               // the certificates do not make one chain up to the root
    validity,            // a certificate is expired, or not valid yet
    pck_certificate,     // the leaf is no PCK certificate with a P-256 key
    attestation_key,     // no point on P-256
    qe_signature,        // the quoting enclave's report is not signed by the PCK key
    qe_binding,          // the quoting enclave's report does not name the attestation key
    signature,           // header and report are not signed by the attestation key
};

[[nodiscard]] constexpr std::string_view text(QuoteError error) {
    switch (error) {
        case QuoteError::truncated: return "the quote is truncated";
        case QuoteError::surplus_bytes: return "bytes follow the end of the quote";
        case QuoteError::too_large: return "the quote is too large";
        case QuoteError::version: return "the quote is not of version 3";
        case QuoteError::key_type: return "the quote's key is not ECDSA over P-256";
        case QuoteError::not_sgx: return "the quote is not of an SGX enclave";
        case QuoteError::certification_type: return "the quote carries no certificate chain";
        case QuoteError::certificates: return "the quote's certificates are malformed";
        case QuoteError::root: return "the quote does not lead to the pinned root certificate";
        case QuoteError::chain: return "the quote's certificates do not make a valid chain";
        case QuoteError::validity: return "a certificate of the quote is not valid at this time";
        case QuoteError::pck_certificate: return "the quote's leaf is not an SGX PCK certificate";
        case QuoteError::attestation_key: return "the quote's attestation key is not on P-256";
        case QuoteError::qe_signature:
            return "the quoting enclave's report is not signed by its certificate";
        case QuoteError::qe_binding:
            return "the quoting enclave's report does not name the attestation key";
        case QuoteError::signature: return "the quote's signature does not verify";
    }
    return "unknown";
}

inline constexpr std::uint16_t kQuoteVersion = 3;
inline constexpr std::uint16_t kQuoteKeyEcdsaP256 = 2;
inline constexpr std::uint16_t kCertificationPckChain = 5;

struct QuoteHeader {
    std::uint16_t version;                   // 0   kQuoteVersion
    std::uint16_t key_type;                  // 2   kQuoteKeyEcdsaP256
    std::uint32_t tee_type;                  // 4   0: SGX
    std::uint16_t qe_svn;                    // 8
    std::uint16_t pce_svn;                   // 10
    std::array<std::uint8_t, 16> vendor_id;  // 12
    std::array<std::uint8_t, 20> user_data;  // 28
};
static_assert(sizeof(QuoteHeader) == 48);

using P256Point = std::array<std::uint8_t, 64>;      // x ‖ y, big-endian
using P256Signature = std::array<std::uint8_t, 64>;  // r ‖ s, big-endian

// A quote taken apart. The spans point into the bytes that were parsed. Nothing in here is to be
// believed before verify_quote() says so.
struct Quote {
    QuoteHeader header;
    ReportBody report;          // of the enclave that was quoted
    Bytes signed_bytes;         // header and report
    P256Signature signature;    // over signed_bytes, by the attestation key
    P256Point attestation_key;  // the quoting enclave's
    ReportBody qe_report;       // of the quoting enclave; its data binds the attestation key
    Bytes qe_report_bytes;
    P256Signature qe_signature;  // over qe_report_bytes, by the key of the PCK certificate
    Bytes qe_auth_data;
    Bytes certificates;  // PEM: PCK certificate, intermediates, root, in any order
};

// Total: any byte string gives a quote or an error.
[[nodiscard]] std::expected<Quote, QuoteError> parse_quote(Bytes bytes);

}  // namespace sgm::sgx
