// SPDX-License-Identifier: MIT
// The four OCALLs. The host serves them, or says that it did: nothing that comes back is to be
// believed before it has been opened or verified.
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>

#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::enclave {

enum class OcallError {
    nothing,       // the time passed and nothing came
    unreachable,   // the peer cannot be reached now
    stop,          // the host wants the enclave to end
    ring_changed,  // the connection to the hypervisor was renewed, the call is lost
    too_large,     // more than the message buffer holds, or than `into` has room for
    malformed,     // the host's answer makes no sense
};

[[nodiscard]] constexpr std::string_view text(OcallError error) {
    switch (error) {
        case OcallError::nothing: return "nothing came in time";
        case OcallError::unreachable: return "the host cannot reach the peer";
        case OcallError::stop: return "the host asks to stop";
        case OcallError::ring_changed: return "the connection to the hypervisor was renewed";
        case OcallError::too_large: return "the message is too large";
        case OcallError::malformed: return "the host's answer makes no sense";
    }
    return "unknown";
}

// Wakes the hypervisor, which has a call in the ring; returns when it has answered there.
[[nodiscard]] std::expected<void, OcallError> ocall_hypervisor();

[[nodiscard]] std::expected<void, OcallError> send(wire::Peer peer, Bytes message);

// Waits at most `wait_ns` for the next message and copies it into `into`; returns its size.
[[nodiscard]] std::expected<std::size_t, OcallError> receive(wire::Peer peer, std::uint64_t wait_ns,
                                                             MutableBytes into);

// Sleeps until something has arrived (success) or `wait_ns` have passed (nothing).
[[nodiscard]] std::expected<void, OcallError> wait(std::uint64_t wait_ns);

}  // namespace sgm::enclave
