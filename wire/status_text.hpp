// SPDX-License-Identifier: MIT
// What a Status says to people.
#pragma once

#include <string_view>

#include "wire/sgm_op.hpp"

namespace sgm::wire {

[[nodiscard]] constexpr std::string_view text(Status status) {
    switch (status) {
        case Status::ok: return "ok";
        case Status::malformed: return "the message is malformed";
        case Status::unsupported: return "version, command or attestation flags are not supported";
        case Status::no_such_session: return "there is no such session";
        case Status::refused_counter: return "the message is old or replayed: session closed";
        case Status::refused_tag: return "the message does not authenticate: session closed";
        case Status::unknown_nonce:
            return "the registration nonce was never issued, is used, or is forgotten";
        case Status::lifetime_over: return "the attestation result's lifetime is over";
        case Status::wrong_domain: return "there is no such VM here, or the result names another";
        case Status::wrong_hypervisor: return "the attestation result names another hypervisor";
        case Status::bad_signature:
            return "the attestation result is not signed by the pinned authority";
        case Status::wrong_binding:
            return "the attestation result was given for another secret or another IDS";
        case Status::bad_encapsulation: return "the session secret cannot be decapsulated";
        case Status::debug_refused: return "a debug enclave is refused";
        case Status::software_sgx_refused: return "a software enclave is refused by policy";
        case Status::too_many_sessions: return "all sessions are in use by other VMs";
        case Status::internal: return "the hypervisor failed";
        case Status::stale_epoch: return "the VM was reset, restored or migrated: session closed";
        case Status::exhausted: return "the session's keys are used up: session closed";
        case Status::revoked: return "the authority has revoked this IDS";
        case Status::stale_revocation: return "a newer revocation list is in force";
    }
    return "an unknown status";
}

}  // namespace sgm::wire
