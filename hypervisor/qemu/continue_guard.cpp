// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/continue_guard.hpp"

#include <errno.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sgm::qemu {
namespace {

using config::Descriptor;

constexpr std::string_view kContinue = "\n{\"execute\":\"cont\",\"id\":\"sgm-continue\"}\n";
constexpr std::string_view kAnswer = "\"sgm-continue\"";
constexpr int kAnswerMs = 10'000;  // for QEMU to answer; it may be busy with the `stop` still

// QEMU drops what a client that has hung up has asked for, so the answer is awaited.
void continue_vm(int qmp) {
    (void)::send(qmp, kContinue.data(), kContinue.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    std::string said;
    std::array<char, 4096> chunk;
    while (true) {
        pollfd ready{.fd = qmp, .events = POLLIN, .revents = 0};
        if (::poll(&ready, 1, kAnswerMs) <= 0) return;
        const ssize_t size = ::recv(qmp, chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (size <= 0) return;
        said.append(chunk.data(), static_cast<std::size_t>(size));
        if (said.find(kAnswer) != said.npos) return;
        if (said.size() > 2 * chunk.size()) said.erase(0, said.size() - kAnswer.size());
    }
}

}  // namespace

struct ContinueGuard::Child {
    // Until the other end is closed: by the death of every process that has it.
    [[noreturn]] static void run(int socket, const Owed& owed) {
        ::prctl(PR_SET_NAME, "sgm-continue");
        ::signal(SIGINT, SIG_IGN);  // from the terminal, for the process that we guard
        ::signal(SIGTERM, SIG_IGN);
        ::signal(SIGHUP, SIG_IGN);
        static std::array<Descriptor, kMaxVms> connections;
        while (take_one(socket, connections)) {
        }
        for (std::size_t i = 0; i < connections.size(); ++i) {
            if (connections[i] && owed.vm[i]) continue_vm(connections[i].get());
            connections[i] = Descriptor{};
        }
        ::_exit(0);
    }

    static bool take_one(int socket, std::array<Descriptor, kMaxVms>& connections) {
        std::uint32_t index = 0;
        iovec part{.iov_base = &index, .iov_len = sizeof(index)};
        alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (size < 0 && errno == EINTR) return true;
        if (size != sizeof(index) || index >= kMaxVms) return false;
        Descriptor qmp;
        if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
            qmp = Descriptor{fd};
        }
        connections[index] = std::move(qmp);
        return true;
    }
};

config::Result<std::unique_ptr<ContinueGuard>> ContinueGuard::start() {
    const auto failed = [] {
        return std::unexpected{config::Error{fmt::format(
            "cannot start the guard that lets held VMs go on: {}", std::strerror(errno))}};
    };
    void* memory =
        ::mmap(nullptr, sizeof(Owed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ends[2];
    if (memory == MAP_FAILED || ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return failed();
    auto* owed = new (memory) Owed{};
    Descriptor ours{ends[0]};
    Descriptor childs{ends[1]};
    const pid_t child = ::fork();
    if (child < 0) return failed();
    if (child == 0) {
        ours = Descriptor{};
        Child::run(childs.get(), *owed);
    }
    return std::unique_ptr<ContinueGuard>{new ContinueGuard{std::move(ours), owed, child}};
}

ContinueGuard::~ContinueGuard() {
    socket_ = Descriptor{};
    ::waitpid(child_, nullptr, 0);
    ::munmap(owed_, sizeof(Owed));
}

bool ContinueGuard::is_alive() const {
    pollfd hung_up{.fd = socket_.get(), .events = 0, .revents = 0};
    return ::poll(&hung_up, 1, 0) == 0;
}

bool ContinueGuard::tell(std::size_t index, int qmp) {
    auto number = static_cast<std::uint32_t>(index);
    iovec part{.iov_base = &number, .iov_len = sizeof(number)};
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (qmp >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &qmp, sizeof(qmp));
    }
    return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == sizeof(number);
}

ContinueGuard::Slot::Slot(ContinueGuard* guard, int qmp) : guard_{guard} {
    const std::lock_guard lock{guard_->mutex_};
    while (index_ < kMaxVms && guard_->taken_[index_])
        ++index_;
    if (index_ == kMaxVms) return;
    guard_->owed_->vm[index_] = false;
    taken_ = guard_->tell(index_, qmp);
    guard_->taken_[index_] = taken_;
}

ContinueGuard::Slot::~Slot() {
    if (!taken_) return;
    const std::lock_guard lock{guard_->mutex_};
    guard_->owed_->vm[index_] = false;
    guard_->taken_[index_] = false;
    (void)guard_->tell(index_, -1);
}

void ContinueGuard::Slot::owe(bool value) {
    if (taken_) guard_->owed_->vm[index_] = value;
}

}  // namespace sgm::qemu
