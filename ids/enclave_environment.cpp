// SPDX-License-Identifier: MIT
#include "ids/enclave_environment.hpp"

#include <algorithm>

#include "crypto/wide_aes.hpp"
#include "sgx/enclave/enclu.hpp"
#include "sgx/enclave/ocall.hpp"
#include "sgx/enclave/runtime.hpp"

namespace sgm::ids {
namespace {

// How often the ring is looked at before the relay is asked to wake the hypervisor: some hundred
// microseconds, about what a wake costs. A bound in turns, because an enclave has no clock.
constexpr int kSpinTurns = 16'000;
// After a look in vain: the two may share a CPU, where looking keeps the hypervisor from answering.
// Longer than the answer to a usual list takes. Every so many looks is a long one again.
constexpr int kShortTurns = 2'048;
constexpr unsigned kLongEvery = 16;

EnvironmentError to_error(enclave::OcallError error) {
    switch (error) {
        case enclave::OcallError::nothing: return EnvironmentError::nothing;
        case enclave::OcallError::too_large: return EnvironmentError::too_large;
        case enclave::OcallError::stop: return EnvironmentError::stopped;
        case enclave::OcallError::unreachable:
        case enclave::OcallError::ring_changed:
        case enclave::OcallError::malformed: return EnvironmentError::unreachable;
    }
    return EnvironmentError::unreachable;
}

}  // namespace

std::expected<std::size_t, EnvironmentError> Ring::call(Bytes call, MutableBytes reply) {
    if (call.size() > wire::kRingMaxCall) return std::unexpected(EnvironmentError::too_large);
    memory_.copy_out(wire::kRingCallOffset, call);
    memory_.store(offsetof(wire::RingHeader, call_size), static_cast<std::uint32_t>(call.size()));
    set_state(wire::RingState::call);
    if (!spin()) {
        const auto woken = enclave::ocall_hypervisor();
        if (!woken) return give_up(to_error(woken.error()));
        if (!has_reply()) return give_up(EnvironmentError::unreachable);
    }
    const auto size = memory_.load<std::uint32_t>(offsetof(wire::RingHeader, reply_size));
    if (size > wire::kRingMaxReply || size > reply.size()) {
        return give_up(EnvironmentError::too_large);
    }
    memory_.copy_in(wire::kRingReplyOffset, reply.first(size));
    set_state(wire::RingState::idle);
    return size;
}

void Ring::set_state(wire::RingState state) {
    memory_.store_release(offsetof(wire::RingHeader, state), static_cast<std::uint32_t>(state));
}

bool Ring::has_reply() const {
    return memory_.load_acquire(offsetof(wire::RingHeader, state)) ==
           static_cast<std::uint32_t>(wire::RingState::reply);
}

bool Ring::spin() {
    // A sleeping hypervisor will not look before it is woken.
    if (memory_.load_acquire(offsetof(wire::RingHeader, hypervisor_asleep)) != 0) return false;
    const int turns = vain_ % kLongEvery == 0 ? kSpinTurns : kShortTurns;
    for (int turn = 0; turn < turns; ++turn) {
        if (has_reply()) {
            vain_ = 0;
            return true;
        }
        __builtin_ia32_pause();
    }
    ++vain_;
    return false;
}

std::unexpected<EnvironmentError> Ring::give_up(EnvironmentError error) {
    set_state(wire::RingState::idle);
    return std::unexpected(error);
}

std::expected<std::size_t, EnvironmentError> EnclaveEnvironment::call_hypervisor(
    Bytes call, MutableBytes reply) {
    return ring_.call(call, reply);
}

std::expected<void, EnvironmentError> EnclaveEnvironment::send(wire::Peer peer, Bytes message) {
    const auto sent = enclave::send(peer, message);
    if (!sent) return std::unexpected(to_error(sent.error()));
    return {};
}

std::expected<std::size_t, EnvironmentError> EnclaveEnvironment::receive(wire::Peer peer,
                                                                         std::uint64_t wait_ns,
                                                                         MutableBytes into) {
    const auto size = enclave::receive(peer, wait_ns, into);
    if (!size) return std::unexpected(to_error(size.error()));
    return *size;
}

std::expected<void, EnvironmentError> EnclaveEnvironment::wait(std::uint64_t wait_ns) {
    const auto waited = enclave::wait(wait_ns);
    if (!waited) return std::unexpected(to_error(waited.error()));
    return {};
}

std::expected<std::array<std::uint8_t, 432>, EnvironmentError> EnclaveEnvironment::report(
    const std::array<std::uint8_t, 64>& report_data) {
    const sgx::Report report = enclave::create_report(quoting_target_, report_data);
    std::array<std::uint8_t, 432> out{};
    static_assert(sizeof(report) == sizeof(out));
    std::ranges::copy(bytes_of(report), out.begin());
    return out;
}

bool EnclaveEnvironment::memory_is_short() {
    return enclave::memory_is_short();
}

void EnclaveEnvironment::set_last_words(void (*say)(void*), void* argument) {
    enclave::set_last_words(say, argument);
}

std::optional<EnclaveEnvironment> enclave_environment(const wire::StartInfo& start) {
    const auto ring = enclave::Outside::at(start.ring, wire::kRingSize, alignof(wire::RingHeader));
    const auto target = Reader{start.quoting_target}.take<sgx::TargetInfo>();
    if (!ring || !target) return std::nullopt;
    if ((enclave::xfrm() & sgx::kXfrmAvx512) == sgx::kXfrmAvx512) crypto::use_wide_aes();
    return EnclaveEnvironment{Ring{*ring}, *target};
}

}  // namespace sgm::ids
