// SPDX-License-Identifier: MIT
#include "host/hypervisor_link.hpp"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
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
    auto ring = Ring::create();
    if (!ring) return std::unexpected(ring.error());
    return std::unique_ptr<HypervisorLink>(
        new HypervisorLink(std::move(socket_path), std::move(*ring)));
}

HypervisorLink::HypervisorLink(std::string socket_path, Ring ring)
    : Hypervisor{std::move(ring)}, socket_path_{std::move(socket_path)} {}

bool HypervisorLink::connect() {
    config::Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size() + 1);
    wire::RingHelloReply reply{};
    if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                             sizeof(address)) != 0) {
        last_error_ = system_error("cannot reach the hypervisor at " + socket_path_);
    } else if (!send_ring(socket.get(), ring_descriptor()) ||
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
    std::atomic_ref{ring_.header().connection} += 1;
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

    const std::atomic_ref asleep{ring_.header().client_asleep};
    const auto deadline = std::chrono::steady_clock::now() + kReplyTimeout;
    futex(&ring_.header().state, FUTEX_WAKE, 1, nullptr);
    while (ring_.state().load(std::memory_order_acquire) == call) {
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
        // Before the kernel looks at the state: the hypervisor looks here after it has set that.
        asleep = 1;
        futex(&ring_.header().state, FUTEX_WAIT, call, &kLookInterval);
        asleep = 0;
    }
    return wire::OcallResult::ok;
}

}  // namespace sgm::host
