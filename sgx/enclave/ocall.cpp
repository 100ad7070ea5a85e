// SPDX-License-Identifier: MIT
#include "sgx/enclave/ocall.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "sgx/enclave/internal.hpp"
#include "sgx/enclave/runtime.hpp"
#include "sgx/enclave/untrusted.hpp"

// entry.S
extern "C" void sgm_enclave_ocall(std::uint64_t number, std::uint64_t frame);

namespace sgm::enclave {
namespace {

struct Channel {
    Outside frame;
    Outside buffer;
};
constinit std::array<std::optional<Channel>, sgx::kMaxThreads> channels;

// This thread's.
std::optional<Channel>& current() {
    return channels[thread_index()];
}

// Leaves the enclave with `request` in the frame; returns the host's copy of it, read once.
wire::OcallFrame leave(const wire::OcallFrame& request) {
    const std::optional<Channel>& channel = current();
    if (!channel) abort(wire::EnclaveResult::internal);
    channel->frame.store(0, request);
    sgm_enclave_ocall(static_cast<std::uint64_t>(request.number), channel->frame.address());
    return channel->frame.load<wire::OcallFrame>(0);
}

std::expected<void, OcallError> outcome(const wire::OcallFrame& reply) {
    switch (wire::OcallResult{reply.result}) {
        case wire::OcallResult::ok: return {};
        case wire::OcallResult::nothing: return std::unexpected(OcallError::nothing);
        case wire::OcallResult::unreachable: return std::unexpected(OcallError::unreachable);
        case wire::OcallResult::stop: return std::unexpected(OcallError::stop);
        case wire::OcallResult::ring_changed: return std::unexpected(OcallError::ring_changed);
    }
    return std::unexpected(OcallError::malformed);
}

}  // namespace

void use_for_ocalls(const Outside& frame, const Outside& buffer) {
    current() = {frame, buffer};
}

std::expected<void, OcallError> ocall_hypervisor() {
    wire::OcallFrame request{};
    request.number = wire::OcallNumber::hypervisor;
    return outcome(leave(request));
}

std::expected<void, OcallError> send(wire::Peer peer, Bytes message) {
    const std::optional<Channel>& channel = current();
    if (!channel || message.size() > channel->buffer.size())
        return std::unexpected(OcallError::too_large);
    channel->buffer.copy_out(0, message);
    wire::OcallFrame request{};
    request.number = wire::OcallNumber::send;
    request.peer = peer;
    request.size = message.size();
    return outcome(leave(request));
}

std::expected<std::size_t, OcallError> receive(wire::Peer peer, std::uint64_t wait_ns,
                                               MutableBytes into) {
    const std::optional<Channel>& channel = current();
    if (!channel) abort(wire::EnclaveResult::internal);
    wire::OcallFrame request{};
    request.number = wire::OcallNumber::receive;
    request.peer = peer;
    request.size = std::min<std::uint64_t>(into.size(), channel->buffer.size());
    request.wait_ns = wait_ns;
    const wire::OcallFrame reply = leave(request);
    if (const auto result = outcome(reply); !result) return std::unexpected(result.error());
    if (reply.size > request.size) return std::unexpected(OcallError::too_large);
    speculation_barrier();
    const auto size = static_cast<std::size_t>(reply.size);
    channel->buffer.copy_in(0, into.first(size));
    return size;
}

std::expected<void, OcallError> wait(std::uint64_t wait_ns) {
    wire::OcallFrame request{};
    request.number = wire::OcallNumber::wait;
    request.wait_ns = wait_ns;
    return outcome(leave(request));
}

}  // namespace sgm::enclave
