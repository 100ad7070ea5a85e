// SPDX-License-Identifier: MIT
// The relay's way to the hypervisor, whichever it is. It never looks into the messages of an
// enclave; they are sealed, and there is nothing in them for the host.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/ring.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::host {

class Hypervisor {
  public:
    virtual ~Hypervisor() = default;
    Hypervisor(const Hypervisor&) = delete;
    Hypervisor& operator=(const Hypervisor&) = delete;

    // The memory of the ring (wire/ring.hpp), for the enclave.
    [[nodiscard]] int ring_descriptor() const { return ring_.descriptor(); }

    // The enclave has put a call into the ring: has it answered, and returns when the reply is
    // there (ok), the hypervisor has gone (ring_changed), it cannot be reached or is too slow
    // (unreachable), or `stop` was set.
    [[nodiscard]] virtual wire::OcallResult wake_and_wait(const std::atomic<bool>& stop) = 0;

    // A call of the host's own and its reply, a whole frame each; never on a ring that an enclave
    // uses. Error: as from wake_and_wait().
    [[nodiscard]] std::expected<std::vector<std::uint8_t>, wire::OcallResult> call(
        Bytes frame, const std::atomic<bool>& stop);

    // Why the last call failed, for the log; empty when it did not.
    [[nodiscard]] const std::string& last_error() const { return last_error_; }

  protected:
    explicit Hypervisor(Ring ring) : ring_{std::move(ring)} {}

    Ring ring_;
    std::string last_error_;
};

// The error is a sentence.
using HypervisorMaker = std::function<std::expected<std::unique_ptr<Hypervisor>, std::string>()>;

}  // namespace sgm::host
