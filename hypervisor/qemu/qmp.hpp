// SPDX-License-Identifier: MIT
// QEMU's control socket (QMP), one connection that stays: QEMU serves one client at a time for
// each socket, so this one must be the hypervisor's own. Every wait has a deadline that nothing
// QEMU says extends.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "config/descriptor.hpp"
#include "config/error.hpp"

namespace sgm::qemu {

using config::Descriptor;
using Deadline = std::chrono::steady_clock::time_point;

// What QEMU said on its own since the last look (qapi/run-state.json, qapi/machine.json).
struct QmpEvents {
    [[nodiscard]] bool operator==(const QmpEvents&) const = default;
    bool reset = false;
    std::uint32_t resumed = 0;  // how often
    bool map_changed = false;   // memory was plugged or unplugged
};

class Qmp final {
  public:
    // Connects and leaves negotiation to start(): nothing has been said yet.
    [[nodiscard]] static config::Result<Qmp> connect(const std::filesystem::path& socket);
    // A connection that somebody else has made and said nothing on; `name` is for errors.
    Qmp(Descriptor socket, std::string name) : socket_{std::move(socket)}, name_{std::move(name)} {}

    [[nodiscard]] config::Result<void> start(Deadline deadline);

    // The `return` value; when there is none by the deadline, the connection is closed.
    [[nodiscard]] config::Result<nlohmann::json> execute(const std::string& command,
                                                         nlohmann::json arguments,
                                                         Deadline deadline);
    // A command of the human monitor, its text with plain line ends.
    [[nodiscard]] config::Result<std::string> monitor(const std::string& command,
                                                      Deadline deadline);

    // The same in two steps, for who can wait longer than one deadline. send() gives the number to
    // await(); 0: QEMU has gone. await() gives no reply when the deadline has passed or
    // `interrupt` (a descriptor, -1: none) is readable: it may be called again, unless QEMU has
    // gone.
    struct Reply {
        nlohmann::json value;
        bool refused;  // `value` is QEMU's error
    };
    [[nodiscard]] std::uint64_t send(const std::string& command, nlohmann::json arguments = {});
    [[nodiscard]] std::optional<Reply> await(std::uint64_t number, Deadline deadline,
                                             int interrupt = -1);

    // Events that have come, without waiting. Finds out, too, when QEMU has gone.
    [[nodiscard]] QmpEvents take_events();
    // Something came along with the last reply; the descriptor does not tell of it.
    [[nodiscard]] bool has_news() const {
        return events_ != QmpEvents{} || buffer_.find('\n', searched_) != buffer_.npos;
    }
    [[nodiscard]] bool is_open() const { return static_cast<bool>(socket_); }
    [[nodiscard]] int descriptor() const { return socket_.get(); }
    [[nodiscard]] Descriptor release() { return std::move(socket_); }
    [[nodiscard]] const std::string& name() const { return name_; }
    // Ends the connection also for who has a duplicate of its descriptor.
    void close();

  private:
    // Takes in what has come. False: nothing more for now, or QEMU has gone.
    [[nodiscard]] bool receive();
    // The next whole message, or a discarded one; events are noted and not given.
    [[nodiscard]] nlohmann::json next_message();
    void note_event(const nlohmann::json& event);
    [[nodiscard]] config::Error gone();

    Descriptor socket_;
    std::string name_;
    std::string buffer_;
    std::size_t searched_ = 0;  // of the buffer; there is no line end before
    std::uint64_t last_number_ = 0;
    QmpEvents events_;
};

}  // namespace sgm::qemu
