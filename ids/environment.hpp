// SPDX-License-Identifier: MIT
// All that the IDS can reach: the hypervisor, its messages' carriers, and the CPU's word about
// itself. In the enclave these are the ring, the OCALLs and EREPORT (enclave_environment.hpp); in
// tests an in-process world, hostile where the test wants it.
//
// Everything that comes back is untrusted and already copied into memory of our own.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string_view>

#include "sgx/enclave/sealing.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::ids {

enum class EnvironmentError {
    nothing,      // the time passed and nothing came
    unreachable,  // the peer cannot be reached now
    too_large,    // the message does not fit the buffer
    stopped,      // the host wants the IDS to end
    no_report,    // EREPORT failed
};

[[nodiscard]] constexpr std::string_view text(EnvironmentError error) {
    switch (error) {
        case EnvironmentError::nothing: return "nothing came in time";
        case EnvironmentError::unreachable: return "it cannot be reached";
        case EnvironmentError::too_large: return "the message is too large";
        case EnvironmentError::stopped: return "the host asked to stop";
        case EnvironmentError::no_report: return "the CPU gave no report";
    }
    return "unknown";
}

class Environment {
  public:
    virtual ~Environment() = default;

    // One sgm_op: `call` is an OpHeader and its payload; the reply, of any content, is copied
    // into `reply`. Returns its size.
    [[nodiscard]] virtual std::expected<std::size_t, EnvironmentError> call_hypervisor(
        Bytes call, MutableBytes reply) = 0;

    [[nodiscard]] virtual std::expected<void, EnvironmentError> send(wire::Peer peer,
                                                                     Bytes message) = 0;

    // The next message from `peer`, waiting at most `wait_ns`; its size.
    [[nodiscard]] virtual std::expected<std::size_t, EnvironmentError> receive(
        wire::Peer peer, std::uint64_t wait_ns, MutableBytes into) = 0;

    // Comes back when a message from the owner may be there, or after `wait_ns`. The host decides
    // how long that really takes: nothing may depend on it but the owner's patience.
    [[nodiscard]] virtual std::expected<void, EnvironmentError> wait(std::uint64_t wait_ns) = 0;

    // A REPORT (432 bytes) for the quoting enclave, over `report_data`.
    [[nodiscard]] virtual std::expected<std::array<std::uint8_t, 432>, EnvironmentError> report(
        const std::array<std::uint8_t, 64>& report_data) = 0;

    // Under which this enclave seals what it wants to have again after a restart.
    [[nodiscard]] virtual enclave::SealKeys& seal_keys() = 0;

    // True: the enclave's memory runs out. Whoever can give something back should, and ask again.
    [[nodiscard]] virtual bool memory_is_short() { return false; }
    // `say(argument)` is called once, when an allocation has failed for good, before the enclave
    // ends; nullptr: nothing is. `argument` is valid until the next call of this.
    virtual void set_last_words(void (*say)(void*), void* argument) {
        static_cast<void>(say);
        static_cast<void>(argument);
    }

    // One line for the host's log. Never guest data.
    void log(std::string_view line) {
        // The log is a courtesy: a host that drops it loses only its own help.
        static_cast<void>(send(wire::Peer::log,
                               {reinterpret_cast<const std::uint8_t*>(line.data()), line.size()}));
    }

  protected:
    Environment() = default;
    Environment(const Environment&) = default;
    Environment& operator=(const Environment&) = default;
};

}  // namespace sgm::ids
