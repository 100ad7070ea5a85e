// SPDX-License-Identifier: MIT
// Serves enclaves over shared memory (wire/ring.hpp). Whoever may connect to the socket is the
// host: it controls the ring's every byte at any time, and may hang up or wait as it likes.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "config/descriptor.hpp"
#include "config/error.hpp"
#include "hypervisor/qemu/core_gate.hpp"

namespace sgm::qemu {

using config::Descriptor;

class RingServer final {
  public:
    // More than one for each of 1,024 VMs.
    static constexpr std::size_t kMaxConnections = 1536;

    // Listens on a Unix socket of this mode. `gate` outlives this. A socket
    // file that nobody serves any more is replaced.
    [[nodiscard]] static config::Result<std::unique_ptr<RingServer>> listen(
        const std::filesystem::path& socket, mode_t mode, CoreGate& gate);
    // Ends all connections, after the call that is being worked on.
    ~RingServer();
    RingServer(const RingServer&) = delete;
    RingServer& operator=(const RingServer&) = delete;

  private:
    RingServer(std::filesystem::path path, Descriptor listener, CoreGate& gate);
    void accept_all();
    void serve(Descriptor socket);
    void drop_finished();

    std::filesystem::path path_;
    Descriptor listener_;
    CoreGate& gate_;
    std::atomic<bool> stop_ = false;

    struct Worker {
        std::atomic<bool> finished = false;
        std::thread thread;
    };
    std::vector<std::unique_ptr<Worker>> workers_;  // of the accepting thread alone
    std::thread acceptor_;
};

}  // namespace sgm::qemu
