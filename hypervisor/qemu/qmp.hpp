// SPDX-License-Identifier: MIT
// QEMU's control socket (QMP), one connection that stays: QEMU serves one client at a time for
// each socket, so this one must be the hypervisor's own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "config/descriptor.hpp"
#include "config/error.hpp"

namespace sgm::qemu {

using config::Descriptor;

// What QEMU said on its own since the last look.
struct QmpEvents {
    bool reset = false;
    bool resumed = false;
};

class Qmp final {
  public:
    [[nodiscard]] static config::Result<Qmp> connect(const std::filesystem::path& socket);

    // The `return` value. An error closes the connection unless QEMU itself refused the command.
    [[nodiscard]] config::Result<nlohmann::json> execute(const std::string& command,
                                                         nlohmann::json arguments = {});
    // A command of the human monitor, its text with plain line ends.
    [[nodiscard]] config::Result<std::string> monitor(const std::string& command);

    // Events that have come, without waiting. Finds out, too, when QEMU has gone.
    [[nodiscard]] QmpEvents take_events();
    [[nodiscard]] bool is_open() const { return static_cast<bool>(socket_); }

  private:
    Qmp(Descriptor socket, std::string path) : socket_{std::move(socket)}, path_{std::move(path)} {}

    enum class Wait { until_timeout, no };
    // The next message; discarded JSON when there is none.
    [[nodiscard]] nlohmann::json receive(Wait wait);
    void note_event(const nlohmann::json& message);
    [[nodiscard]] config::Error gone();

    Descriptor socket_;
    std::string path_;
    std::string buffer_;
    QmpEvents events_;
};

}  // namespace sgm::qemu
