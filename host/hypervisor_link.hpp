// SPDX-License-Identifier: MIT
// The relay's end of the shared ring (wire/ring.hpp): makes it, hands it to the hypervisor
// process, wakes that process for the enclave and waits for the reply. It never looks into the
// messages of an enclave; they are sealed, and there is nothing in them for the host.
#pragma once

#include <atomic>
#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "config/descriptor.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/ring.hpp"

namespace sgm::host {

class HypervisorLink final {
  public:
    // Makes the ring. The hypervisor need not run yet: each wake() connects when it must.
    // The error is a sentence.
    [[nodiscard]] static std::expected<std::unique_ptr<HypervisorLink>, std::string> create(
        std::string socket_path);
    ~HypervisorLink();
    HypervisorLink(const HypervisorLink&) = delete;
    HypervisorLink& operator=(const HypervisorLink&) = delete;

    // The ring's memfd: kRingSize bytes, sealed against shrinking and growing.
    [[nodiscard]] int ring_descriptor() const { return memory_.get(); }

    // The enclave has put a call into the ring: wakes the hypervisor and returns when the reply is
    // there (ok), the hypervisor has gone (ring_changed), it cannot be reached or is too slow
    // (unreachable), or `stop` was set.
    [[nodiscard]] wire::OcallResult wake_and_wait(const std::atomic<bool>& stop);

    // A call of the host's own and its reply, a whole frame each; never on a ring that an enclave
    // uses. Error: as from wake_and_wait().
    [[nodiscard]] std::expected<std::vector<std::uint8_t>, wire::OcallResult> call(
        Bytes frame, const std::atomic<bool>& stop);

    // Why the last connection failed, for the log.
    [[nodiscard]] const std::string& last_error() const { return last_error_; }

  private:
    HypervisorLink(std::string socket_path, config::Descriptor memory, wire::RingHeader* ring);

    [[nodiscard]] bool connect();
    void disconnect();
    [[nodiscard]] bool hung_up() const;
    [[nodiscard]] std::atomic_ref<std::uint32_t> state() {
        return std::atomic_ref<std::uint32_t>{ring_->state};
    }

    std::string socket_path_;
    std::string last_error_;
    config::Descriptor memory_;  // the ring's memfd
    wire::RingHeader* ring_;     // kRingSize bytes
    config::Descriptor socket_;
};

}  // namespace sgm::host
