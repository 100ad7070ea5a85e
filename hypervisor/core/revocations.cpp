// SPDX-License-Identifier: MIT
#include "hypervisor/core/revocations.hpp"

#include <algorithm>

#include "crypto/keys.hpp"

namespace sgm::hypervisor {
namespace {

using wire::Revocation;
using wire::RevokedKind;
using wire::Status;

std::span<const Revocation> entries_of(const wire::RevocationList& list) {
    return std::span{list.entries}.first(list.count);
}

// An entry that is not understood would leave something in force that is revoked.
bool is_understood(const Revocation& entry) {
    const bool kind_known =
        entry.kind >= RevokedKind::mrenclave && entry.kind <= RevokedKind::everything;
    return kind_known && entry.reserved == 0;
}

bool names(const Revocation& entry, const IdsIdentity& ids) {
    switch (entry.kind) {
        case RevokedKind::mrenclave: return entry.subject == ids.mrenclave;
        case RevokedKind::registration: return entry.subject == ids.binding_digest;
        case RevokedKind::domain: {
            wire::Digest padded{};
            std::copy(ids.domain.begin(), ids.domain.end(), padded.begin());
            return entry.subject == padded;
        }
        case RevokedKind::everything: return true;
    }
    return true;
}

}  // namespace

Status Revocations::take(const wire::SignedRevocations& revocations,
                         const wire::SigningKey& authority) {
    const wire::RevocationList& list = revocations.list;
    if (!crypto::verify(authority, revocations.signature, {bytes_of(list)}) ||
        list.label != wire::kRevocationLabel) {
        return Status::bad_signature;
    }
    if (list.count > wire::kMaxRevocations || list.reserved != 0 ||
        !std::ranges::all_of(entries_of(list), is_understood)) {
        return Status::unsupported;
    }
    if (list.sequence <= list_.sequence) return Status::stale_revocation;
    list_ = list;
    return Status::ok;
}

bool Revocations::cover(const IdsIdentity& ids, const wire::Digest& hypervisor_key_id) const {
    return std::ranges::any_of(entries_of(list_), [&](const Revocation& entry) {
        const bool here = entry.hypervisor_key_id == wire::Digest{} ||
                          entry.hypervisor_key_id == hypervisor_key_id;
        return here && names(entry, ids);
    });
}

}  // namespace sgm::hypervisor
