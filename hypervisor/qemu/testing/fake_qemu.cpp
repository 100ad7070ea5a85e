// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/fake_qemu.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace sgm::qemu::testing {

std::string small_q35_map() {
    return R"(FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): ram0
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom
  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000
  0000000000100000-0000000003ffffff (prio 0, ram): ram0 @0000000000100000
  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic

)";
}

FakeQemu::FakeQemu(const std::filesystem::path& socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(socket.string(), address.sun_path);
    listener_ = Descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
            0 ||
        ::listen(listener_.get(), 4) != 0) {
        std::abort();
    }
    answer("qmp_capabilities", "{}");
    answer("query-cpus-fast", R"([{"cpu-index": 0}, {"cpu-index": 1}])");
    answer("query-status", R"({"running": true})");
    answer("stop", "{}");
    answer("cont", "{}");
    answer("info mtree -f", nlohmann::json(small_q35_map()).dump());
    thread_ = std::thread{[this] { serve(); }};
}

FakeQemu::~FakeQemu() {
    hang_up();
    thread_.join();
}

void FakeQemu::answer(const std::string& command, const std::string& json) {
    const std::lock_guard lock{mutex_};
    answers_[command] = json;
}

void FakeQemu::refuse(const std::string& command) {
    const std::lock_guard lock{mutex_};
    answers_.erase(command);
}

void FakeQemu::event(const std::string& name, const std::string& command) {
    const std::lock_guard lock{mutex_};
    const std::string line = nlohmann::json{{"event", name}}.dump() + "\r\n";
    (command.empty() ? pending_events_ : events_before_[command]) += line;
}

void FakeQemu::hang(const std::string& command, const std::string& chatter) {
    const std::lock_guard lock{mutex_};
    hangs_at_ = command;
    chatter_ = chatter.empty() ? "" : nlohmann::json{{"event", chatter}}.dump() + "\r\n";
}

void FakeQemu::go_on() {
    const std::lock_guard lock{mutex_};
    hangs_at_.clear();
    goes_on_.notify_all();
}

void FakeQemu::hang_at(const std::string& command) {
    std::unique_lock lock{mutex_};
    while (hangs_at_ == command && !ends_) {
        if (chatter_.empty()) {
            goes_on_.wait(lock);
            continue;
        }
        const std::string text = chatter_;
        lock.unlock();
        (void)::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        lock.lock();
    }
}

void FakeQemu::hang_up() {
    const std::lock_guard lock{mutex_};
    ends_ = true;
    goes_on_.notify_all();
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (client_) ::shutdown(client_.get(), SHUT_RDWR);
}

std::vector<std::string> FakeQemu::commands() const {
    const std::lock_guard lock{mutex_};
    return commands_;
}

std::string FakeQemu::reply_to(const std::string& line) {
    const auto call = nlohmann::json::parse(line);
    std::string command = call["execute"];
    const std::string id = call["id"].dump();
    if (command == "human-monitor-command") command = call["arguments"]["command-line"];
    hang_at(command);
    const std::lock_guard lock{mutex_};
    commands_.push_back(command);
    const std::string events =
        std::exchange(pending_events_, {}) + std::exchange(events_before_[command], {});
    const auto found = answers_.find(command);
    if (found == answers_.end()) {
        return events + R"({"error": {"class": "CommandNotFound", "desc": "no"}, "id": )" + id +
               "}\r\n";
    }
    return events + R"({"return": )" + found->second + R"(, "id": )" + id + "}\r\n";
}

void FakeQemu::serve() {
    Descriptor client{::accept(listener_.get(), nullptr, nullptr)};
    {
        const std::lock_guard lock{mutex_};
        client_ = std::move(client);
    }
    const auto say = [&](const std::string& text) {
        return ::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0;
    };
    if (!client_ || !say("{\"QMP\": {}}\r\n")) return;
    std::string buffer;
    std::array<char, 4096> chunk;
    while (true) {
        const ssize_t size = ::recv(client_.get(), chunk.data(), chunk.size(), 0);
        if (size <= 0) return;
        buffer.append(chunk.data(), static_cast<std::size_t>(size));
        for (std::size_t end; (end = buffer.find('\n')) != buffer.npos; buffer.erase(0, end + 1)) {
            if (!say(reply_to(buffer.substr(0, end)))) return;
        }
    }
}

}  // namespace sgm::qemu::testing
