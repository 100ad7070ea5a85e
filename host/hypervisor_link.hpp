// SPDX-License-Identifier: MIT
// The way to a hypervisor process (qemu port): hands it the shared ring (wire/ring.hpp), wakes it
// for the enclave and waits for the reply.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "config/descriptor.hpp"
#include "host/hypervisor.hpp"

namespace sgm::host {

class HypervisorLink final : public Hypervisor {
  public:
    // The hypervisor need not run yet: each wake_and_wait() connects when it must. The error is a
    // sentence.
    [[nodiscard]] static std::expected<std::unique_ptr<HypervisorLink>, std::string> create(
        std::string socket_path);

    [[nodiscard]] wire::OcallResult wake_and_wait(const std::atomic<bool>& stop) override;

  private:
    HypervisorLink(std::string socket_path, Ring ring);

    [[nodiscard]] bool connect();
    void disconnect();
    [[nodiscard]] bool hung_up() const;

    std::string socket_path_;
    config::Descriptor socket_;
};

}  // namespace sgm::host
