// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/fake_qemu.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

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

namespace {

constexpr std::string_view kGreeting = "{\"QMP\": {}}\r\n";

FakeAnswers first_answers() {
    return {{"qmp_capabilities", "{}"},
            {"query-cpus-fast", R"([{"cpu-index": 0}, {"cpu-index": 1}])"},
            {"query-status", R"({"running": true})"},
            {"stop", "{}"},
            {"cont", "{}"},
            {"info mtree -f", nlohmann::json(small_q35_map()).dump()}};
}

struct FakeCall {
    std::string command;
    std::string id;
};

FakeCall call_in(std::string_view line) {
    const auto call = nlohmann::json::parse(line);
    std::string command = call["execute"];
    if (command == "human-monitor-command") command = call["arguments"]["command-line"];
    return {std::move(command), call["id"].dump()};
}

std::string reply_line(const FakeAnswers& answers, const FakeCall& call) {
    const auto found = answers.find(call.command);
    return (found == answers.end() ? R"({"error": {"class": "CommandNotFound", "desc": "no"})"
                                   : R"({"return": )" + found->second) +
           R"(, "id": )" + call.id + "}\r\n";
}

bool say(int socket, std::string_view text) {
    return ::send(socket, text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
}

// What has come is added to `received`; false: there will be no more.
bool receive(int socket, std::string& received) {
    std::array<char, 4096> chunk;
    const ssize_t size = ::recv(socket, chunk.data(), chunk.size(), 0);
    if (size > 0) received.append(chunk.data(), static_cast<std::size_t>(size));
    return size > 0;
}

std::optional<std::string> take_line(std::string& received) {
    const std::size_t end = received.find('\n');
    if (end == received.npos) return std::nullopt;
    std::string line = received.substr(0, end);
    received.erase(0, end + 1);
    return line;
}

}  // namespace

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
    answers_ = first_answers();
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
    const FakeCall call = call_in(line);
    hang_at(call.command);
    const std::lock_guard lock{mutex_};
    commands_.push_back(call.command);
    const std::string events =
        std::exchange(pending_events_, {}) + std::exchange(events_before_[call.command], {});
    return events + reply_line(answers_, call);
}

void FakeQemu::serve() {
    Descriptor client{::accept(listener_.get(), nullptr, nullptr)};
    {
        const std::lock_guard lock{mutex_};
        client_ = std::move(client);
    }
    if (!client_ || !say(client_.get(), kGreeting)) return;
    std::string received;
    while (receive(client_.get(), received)) {
        while (const auto line = take_line(received)) {
            if (!say(client_.get(), reply_to(*line))) return;
        }
    }
}

FakeHerd::FakeHerd(std::size_t count) : members_(count), end_{::eventfd(0, EFD_CLOEXEC)} {
    for (Member& member : members_) {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
        member.socket = Descriptor{ends[0]};
        member.other_end = std::make_shared<Descriptor>(ends[1]);
        (void)say(member.socket.get(), kGreeting);
    }
    thread_ = std::thread{[this] { serve(); }};
}

FakeHerd::~FakeHerd() {
    ::eventfd_write(end_.get(), 1);
    thread_.join();
}

std::shared_ptr<Descriptor> FakeHerd::connection(std::size_t index) {
    return std::exchange(members_[index].other_end, nullptr);
}

void FakeHerd::serve() {
    const FakeAnswers answers = first_answers();
    const Descriptor ready{::epoll_create1(EPOLL_CLOEXEC)};
    const auto watch = [&](int descriptor, std::size_t index) {
        epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
        (void)::epoll_ctl(ready.get(), EPOLL_CTL_ADD, descriptor, &event);
    };
    for (std::size_t i = 0; i < members_.size(); ++i)
        watch(members_[i].socket.get(), i);
    watch(end_.get(), members_.size());
    epoll_event event{};
    while (::epoll_wait(ready.get(), &event, 1, -1) == 1 && event.data.u64 < members_.size()) {
        Member& member = members_[event.data.u64];
        if (!receive(member.socket.get(), member.received))
            (void)::epoll_ctl(ready.get(), EPOLL_CTL_DEL, member.socket.get(), nullptr);
        while (const auto line = take_line(member.received)) {
            if (!member.hangs) (void)say(member.socket.get(), reply_line(answers, call_in(*line)));
        }
    }
}

}  // namespace sgm::qemu::testing
