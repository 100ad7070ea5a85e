// SPDX-License-Identifier: MIT
// What the authority has taken back: the newest list of it that has reached this hypervisor.
#pragma once

#include <cstdint>

#include "wire/attestation.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// What a revocation can name of an IDS.
struct IdsIdentity {
    wire::Uuid domain;
    wire::Digest mrenclave;
    wire::Digest binding_digest;
};

class Revocations final {
  public:
    // Takes the list when it is the authority's word and newer than the one in force; what any
    // failure leaves is the list that was in force. Errors, in this order: bad_signature,
    // unsupported (kinds or fields that are not known), stale_revocation.
    [[nodiscard]] wire::Status take(const wire::SignedRevocations& revocations,
                                    const wire::SigningKey& authority);

    // Whether the list in force names `ids`, at the hypervisor of this key.
    [[nodiscard]] bool cover(const IdsIdentity& ids, const wire::Digest& hypervisor_key_id) const;

    [[nodiscard]] std::uint64_t sequence() const { return list_.sequence; }

  private:
    wire::RevocationList list_{};  // sequence 0: none yet
};

}  // namespace sgm::hypervisor
