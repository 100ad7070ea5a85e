// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/qmp.hpp"

#include <errno.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sgm::qemu {
namespace {

// QEMU answers in well under a millisecond unless the machine is very busy.
constexpr timeval kTimeout{.tv_sec = 5, .tv_usec = 0};
constexpr std::size_t kMaxMessage = 4u << 20;

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
    Descriptor fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof(kTimeout)) != 0 ||
        ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof(kTimeout)) != 0 ||
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return failed(std::strerror(errno));
    }
    Qmp qmp{std::move(fd), path};
    const nlohmann::json greeting = qmp.receive(Wait::until_timeout);
    if (!greeting.is_object() || !greeting.contains("QMP")) {
        return failed(
            "no greeting came; QEMU serves one client on each QMP socket, so give the hypervisor "
            "one of its own");
    }
    if (auto ready = qmp.execute("qmp_capabilities"); !ready) {
        return std::unexpected{ready.error()};
    }
    return qmp;
}

config::Error Qmp::gone() {
    socket_ = Descriptor{};
    return {fmt::format("QEMU at {} is gone or does not answer", path_)};
}

nlohmann::json Qmp::receive(Wait wait) {
    while (socket_) {
        if (const std::size_t end = buffer_.find('\n'); end != buffer_.npos) {
            auto message = nlohmann::json::parse(buffer_.begin(),
                                                 buffer_.begin() + static_cast<std::ptrdiff_t>(end),
                                                 nullptr, false);
            buffer_.erase(0, end + 1);
            return message;
        }
        std::array<char, 16384> chunk;
        const ssize_t size =
            ::recv(socket_.get(), chunk.data(), chunk.size(), wait == Wait::no ? MSG_DONTWAIT : 0);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno == EAGAIN && wait == Wait::no) break;
        if (size <= 0 || buffer_.size() > kMaxMessage) {
            socket_ = Descriptor{};
            break;
        }
        buffer_.append(chunk.data(), static_cast<std::size_t>(size));
    }
    return nlohmann::json{nlohmann::json::value_t::discarded};
}

void Qmp::note_event(const nlohmann::json& message) {
    const auto event = message.find("event");
    if (event == message.end()) return;
    events_.reset |= *event == "RESET";
    events_.resumed |= *event == "RESUME";
}

config::Result<nlohmann::json> Qmp::execute(const std::string& command, nlohmann::json arguments) {
    if (!socket_) return std::unexpected{gone()};
    nlohmann::json call{{"execute", command}};
    if (!arguments.is_null()) call["arguments"] = std::move(arguments);
    const std::string line = call.dump() + '\n';
    if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(line.size())) {
        return std::unexpected{gone()};
    }
    while (true) {
        const nlohmann::json message = receive(Wait::until_timeout);
        if (!message.is_object()) return std::unexpected{gone()};
        if (message.contains("return")) return message["return"];
        if (message.contains("error")) {
            return std::unexpected{config::Error{
                fmt::format("QEMU refuses {}: {}", command, message["error"].dump())}};
        }
        note_event(message);
    }
}

config::Result<std::string> Qmp::monitor(const std::string& command) {
    auto reply = execute("human-monitor-command", {{"command-line", command}});
    if (!reply) return std::unexpected{reply.error()};
    if (!reply->is_string()) {
        return std::unexpected{config::Error{fmt::format("QEMU's {} is not a text", command)}};
    }
    auto text = reply->get<std::string>();
    std::erase(text, '\r');
    return text;
}

QmpEvents Qmp::take_events() {
    while (true) {
        const nlohmann::json message = receive(Wait::no);
        if (!message.is_object()) break;
        note_event(message);
    }
    return std::exchange(events_, {});
}

}  // namespace sgm::qemu
