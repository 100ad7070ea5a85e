// SPDX-License-Identifier: MIT
// The control socket of a running hypervisor process: its own user and root attach VMs, detach
// them and look. One JSON object each way for each connection; memory files and the QMP connection
// come as descriptors (SCM_RIGHTS).
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>

#include "config/error.hpp"
#include "hypervisor/qemu/core_gate.hpp"
#include "hypervisor/qemu/port.hpp"
#include "hypervisor/qemu/unix_socket.hpp"

namespace sgm::qemu {

class ControlServer final {
  public:
    // All outlive this. `first_epoch` is for VMs that are attached; `guard` may be nullptr.
    struct Parts {
        CoreGate& gate;
        QemuPort& port;
        std::uint64_t first_epoch;
        ContinueGuard* guard;
    };
    // The socket is for this user and root alone, whatever the directory allows.
    [[nodiscard]] static config::Result<std::unique_ptr<ControlServer>> listen(
        const std::filesystem::path& socket, const Parts& parts);
    ~ControlServer();
    ControlServer(const ControlServer&) = delete;
    ControlServer& operator=(const ControlServer&) = delete;

  private:
    ControlServer(std::filesystem::path path, Descriptor listener, const Parts& parts);
    void serve_all();
    void serve(int socket);
    [[nodiscard]] config::Result<nlohmann::json> answer(const nlohmann::json& call,
                                                        std::vector<Descriptor> descriptors);
    [[nodiscard]] config::Result<nlohmann::json> attach(const nlohmann::json& call,
                                                        std::vector<Descriptor> descriptors);
    [[nodiscard]] config::Result<nlohmann::json> detach(const nlohmann::json& call);
    [[nodiscard]] nlohmann::json list() const;

    std::filesystem::path path_;
    Descriptor listener_;
    Parts parts_;
    std::uint64_t attached_ = 0;  // how often
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// The client's side: what the process answers, or the error that it tells.
[[nodiscard]] config::Result<nlohmann::json> ask_control(const std::filesystem::path& socket,
                                                         const nlohmann::json& call,
                                                         std::span<const int> descriptors = {});

}  // namespace sgm::qemu
