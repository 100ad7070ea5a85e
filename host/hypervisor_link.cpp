// SPDX-License-Identifier: MIT
#include "host/hypervisor_link.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace sgm::host {

namespace {

// A batch is bounded to far less work than this; a guest's first attach is many batches.
constexpr std::chrono::seconds kReplyTimeout{10};
// How often a waiting relay looks whether the hypervisor process still lives.
constexpr timespec kLookInterval{.tv_sec = 0, .tv_nsec = 50'000'000};

std::string system_error(const std::string& what) {
    return what + ": " + std::strerror(errno);
}

long futex(std::uint32_t* word, int operation, std::uint32_t value, const timespec* timeout) {
    return ::syscall(SYS_futex, word, operation, value, timeout, nullptr, 0);
}

bool send_ring(int socket, int ring_descriptor) {
    const wire::RingHello hello{
        .magic = wire::kOpMagic, .version = wire::kProtocolVersion, .size = wire::kRingSize};
    iovec part{.iov_base = const_cast<wire::RingHello*>(&hello), .iov_len = sizeof(hello)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &ring_descriptor, sizeof(int));
    return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(hello));
}

}  // namespace

std::expected<std::unique_ptr<HypervisorLink>, std::string> HypervisorLink::create(
    std::string socket_path) {
    if (socket_path.size() >= sizeof(sockaddr_un::sun_path)) {
        return std::unexpected("the hypervisor socket's path is too long: " + socket_path);
    }
    config::Descriptor ring{::memfd_create("sgm-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!ring) return std::unexpected(system_error("cannot make the shared ring"));
    if (::ftruncate(ring.get(), wire::kRingSize) != 0 ||
        ::fcntl(ring.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return std::unexpected(system_error("cannot size the shared ring"));
    }
    void* memory =
        ::mmap(nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, ring.get(), 0);
    if (memory == MAP_FAILED) {
        return std::unexpected(system_error("cannot map the shared ring"));
    }
    return std::unique_ptr<HypervisorLink>(new HypervisorLink(
        std::move(socket_path), std::move(ring), static_cast<wire::RingHeader*>(memory)));
}

HypervisorLink::HypervisorLink(std::string socket_path, config::Descriptor memory,
                               wire::RingHeader* ring)
    : socket_path_{std::move(socket_path)}, memory_{std::move(memory)}, ring_{ring} {}

HypervisorLink::~HypervisorLink() {
    ::munmap(ring_, wire::kRingSize);
}

bool HypervisorLink::connect() {
    config::Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size() + 1);
    wire::RingHelloReply reply{};
    if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                             sizeof(address)) != 0) {
        last_error_ = system_error("cannot reach the hypervisor at " + socket_path_);
    } else if (!send_ring(socket.get(), memory_.get()) ||
               ::recv(socket.get(), &reply, sizeof(reply), MSG_WAITALL) !=
                   static_cast<ssize_t>(sizeof(reply)) ||
               reply.magic != wire::kOpMagic || reply.status != 0) {
        last_error_ = "the hypervisor at " + socket_path_ + " did not take the shared ring";
    } else {
        socket_ = std::move(socket);
        last_error_.clear();
        return true;
    }
    return false;
}

void HypervisorLink::disconnect() {
    socket_ = {};
}

bool HypervisorLink::hung_up() const {
    pollfd poll_socket{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&poll_socket, 1, 0) != 0;
}

wire::OcallResult HypervisorLink::wake_and_wait(const std::atomic<bool>& stop) {
    const auto call = static_cast<std::uint32_t>(wire::RingState::call);
    if (socket_ && hung_up()) {
        disconnect();
        last_error_ = "the hypervisor closed the connection";
    }
    if (!socket_ && !connect()) return wire::OcallResult::unreachable;

    const auto deadline = std::chrono::steady_clock::now() + kReplyTimeout;
    futex(&ring_->state, FUTEX_WAKE, 1, nullptr);
    while (state().load(std::memory_order_acquire) == call) {
        if (stop) return wire::OcallResult::stop;
        if (hung_up()) {
            disconnect();
            last_error_ = "the hypervisor closed the connection";
            return wire::OcallResult::ring_changed;
        }
        if (std::chrono::steady_clock::now() > deadline) {
            // The late reply would answer a call that nobody waits for any more: drop the ring.
            disconnect();
            last_error_ = "the hypervisor did not answer in time";
            return wire::OcallResult::unreachable;
        }
        futex(&ring_->state, FUTEX_WAIT, call, &kLookInterval);
    }
    return wire::OcallResult::ok;
}

std::expected<std::vector<std::uint8_t>, wire::OcallResult> HypervisorLink::call(
    Bytes frame, const std::atomic<bool>& stop) {
    auto* const bytes = reinterpret_cast<std::uint8_t*>(ring_);
    if (frame.size() > wire::kRingMaxCall) return std::unexpected(wire::OcallResult::unreachable);
    std::memcpy(bytes + wire::kRingCallOffset, frame.data(), frame.size());
    ring_->call_size = static_cast<std::uint32_t>(frame.size());
    state().store(static_cast<std::uint32_t>(wire::RingState::call), std::memory_order_release);
    const auto result = wake_and_wait(stop);
    const bool replied = result == wire::OcallResult::ok &&
                         state().load(std::memory_order_acquire) ==
                             static_cast<std::uint32_t>(wire::RingState::reply) &&
                         ring_->reply_size <= wire::kRingMaxReply;
    state().store(static_cast<std::uint32_t>(wire::RingState::idle), std::memory_order_release);
    if (!replied) {
        return std::unexpected(result == wire::OcallResult::ok ? wire::OcallResult::ring_changed
                                                               : result);
    }
    const auto* const reply = bytes + wire::kRingReplyOffset;
    return std::vector<std::uint8_t>{reply, reply + ring_->reply_size};
}

}  // namespace sgm::host
