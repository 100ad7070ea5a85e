// SPDX-License-Identifier: MIT
// The authority's decision, as a function of what it is shown and nothing else.
#pragma once

#include <chrono>
#include <expected>
#include <string>

#include "authority/policy.hpp"
#include "crypto/keys.hpp"
#include "hypervisor/core/revocations.hpp"
#include "wire/attestation.hpp"
#include "wire/bytes.hpp"

namespace sgm::authority {

struct Refusal {
    enum class Kind { malformed, refused } kind;
    std::string reason;  // our own words; of the evidence only hexadecimal digits are repeated
};

inline constexpr std::size_t kMaxEvidenceSize = sizeof(wire::EvidenceHeader) + wire::kMaxQuoteSize;

// `evidence` is the untrusted host's, whole. `now` is this machine's wall clock; certificates are
// judged by it. `revocations`: this authority's own list.
[[nodiscard]] std::expected<wire::SignedAttestationResult, Refusal> appraise(
    Bytes evidence, const Policy& policy, const hypervisor::Revocations& revocations,
    const crypto::SigningKeyPair& key, std::chrono::sys_seconds now);

}  // namespace sgm::authority
