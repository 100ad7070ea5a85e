// SPDX-License-Identifier: MIT
#include "host/hypervisor.hpp"

namespace sgm::host {

std::expected<std::vector<std::uint8_t>, wire::OcallResult> Hypervisor::call(
    Bytes frame, const std::atomic<bool>& stop) {
    if (!ring_.put_call(frame)) return std::unexpected(wire::OcallResult::unreachable);
    const auto result = wake_and_wait(stop);
    auto reply = ring_.take_reply();
    if (result != wire::OcallResult::ok) return std::unexpected(result);
    if (!reply) return std::unexpected(wire::OcallResult::ring_changed);
    return std::move(*reply);
}

}  // namespace sgm::host
