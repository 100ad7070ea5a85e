// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/qmp.hpp"

#include <errno.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sgm::qemu {
namespace {

constexpr std::size_t kMaxMessage = 4u << 20;

int milliseconds_until(Deadline deadline) {
    using std::chrono::ceil;
    using std::chrono::milliseconds;
    const auto left = ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
}

}  // namespace

config::Result<Qmp> Qmp::connect(const std::filesystem::path& socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = socket.string();
    const auto failed = [&](std::string_view why) {
        return std::unexpected{
            config::Error{fmt::format("cannot reach QEMU's QMP socket {}: {}", path, why)}};
    };
    if (path.size() >= sizeof(address.sun_path)) return failed("the path is too long");
    std::ranges::copy(path, address.sun_path);
    // Non-blocking: a full backlog is an error now and not a wait without end.
    Descriptor fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd ||
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return failed(std::strerror(errno));
    }
    return Qmp{std::move(fd), path};
}

config::Result<void> Qmp::start(Deadline deadline) {
    nlohmann::json greeting{nlohmann::json::value_t::discarded};
    while (socket_ && !greeting.is_object()) {
        greeting = next_message();
        if (greeting.is_object()) break;
        pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        if (::poll(&ready, 1, milliseconds_until(deadline)) == 0) break;
        if (!receive() && !socket_) break;
    }
    if (!greeting.is_object() || !greeting.contains("QMP")) {
        close();
        return std::unexpected{config::Error{
            fmt::format("cannot reach QEMU's QMP socket {}: no greeting came; QEMU serves one "
                        "client on each QMP socket, so give the hypervisor one of its own",
                        name_)}};
    }
    if (auto ready = execute("qmp_capabilities", {}, deadline); !ready) {
        return std::unexpected{ready.error()};
    }
    return {};
}

void Qmp::close() {
    if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
    socket_ = Descriptor{};
}

config::Error Qmp::gone() {
    close();
    return {fmt::format("QEMU at {} is gone or does not answer", name_)};
}

bool Qmp::receive() {
    std::array<char, 16384> chunk;
    ssize_t size = 0;
    do {
        size = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size < 0 && errno == EAGAIN) return false;
    if (size <= 0 || buffer_.size() > kMaxMessage) {
        close();
        return false;
    }
    buffer_.append(chunk.data(), static_cast<std::size_t>(size));
    return true;
}

nlohmann::json Qmp::next_message() {
    for (std::size_t end; (end = buffer_.find('\n', searched_)) != buffer_.npos;) {
        auto message = nlohmann::json::parse(
            buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
        buffer_.erase(0, end + 1);
        searched_ = 0;
        if (!message.is_object()) {
            close();
            break;
        }
        if (!message.contains("event")) return message;
        note_event(message["event"]);
    }
    searched_ = buffer_.size();
    return nlohmann::json{nlohmann::json::value_t::discarded};
}

void Qmp::note_event(const nlohmann::json& event) {
    events_.reset |= event == "RESET";
    if (event == "RESUME") ++events_.resumed;
    // Plugging tells of itself only when the guest has answered (ACPI _OST).
    events_.map_changed |= event == "ACPI_DEVICE_OST" || event == "DEVICE_DELETED" ||
                           event == "MEMORY_DEVICE_SIZE_CHANGE";
}

std::uint64_t Qmp::send(const std::string& command, nlohmann::json arguments) {
    if (!socket_) return 0;
    nlohmann::json call{{"execute", command}, {"id", ++last_number_}};
    if (!arguments.is_null()) call["arguments"] = std::move(arguments);
    const std::string line = call.dump() + '\n';
    // Commands are short and few: a socket that does not take one has a QEMU that is stuck.
    if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        static_cast<ssize_t>(line.size())) {
        close();
        return 0;
    }
    return last_number_;
}

std::optional<Qmp::Reply> Qmp::await(std::uint64_t number, Deadline deadline, int interrupt) {
    while (socket_) {
        const nlohmann::json message = next_message();
        if (message.is_object()) {
            const auto id = message.find("id");
            if (id == message.end() || *id != number) continue;  // nobody waits for it any more
            const bool refused = !message.contains("return");
            const auto value = message.find(refused ? "error" : "return");
            return Reply{value == message.end() ? nlohmann::json{} : *value, refused};
        }
        if (!socket_) break;
        const int left = milliseconds_until(deadline);
        pollfd ready[2]{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                        {.fd = interrupt, .events = POLLIN, .revents = 0}};
        const int count = ::poll(ready, 2, left);
        if (left == 0 || ready[1].revents != 0 || (count < 0 && errno != EINTR)) break;
        if (ready[0].revents != 0) (void)receive();
    }
    return std::nullopt;
}

config::Result<nlohmann::json> Qmp::execute(const std::string& command, nlohmann::json arguments,
                                            Deadline deadline) {
    const std::uint64_t number = send(command, std::move(arguments));
    auto reply = await(number, deadline);
    if (!reply) return std::unexpected{gone()};
    if (reply->refused) {
        return std::unexpected{
            config::Error{fmt::format("QEMU refuses {}: {}", command, reply->value.dump())}};
    }
    return std::move(reply->value);
}

config::Result<std::string> Qmp::monitor(const std::string& command, Deadline deadline) {
    auto reply = execute("human-monitor-command", {{"command-line", command}}, deadline);
    if (!reply) return std::unexpected{reply.error()};
    if (!reply->is_string()) {
        return std::unexpected{config::Error{fmt::format("QEMU's {} is not a text", command)}};
    }
    auto text = reply->get<std::string>();
    std::erase(text, '\r');
    return text;
}

QmpEvents Qmp::take_events() {
    // At most what fits once into the buffers: QEMU may say more while we read.
    for (int i = 0; i < 64 && socket_ && receive(); ++i) {
    }
    while (next_message().is_object()) {
    }
    return std::exchange(events_, {});
}

}  // namespace sgm::qemu
