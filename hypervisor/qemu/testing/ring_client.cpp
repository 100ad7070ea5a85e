// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/ring_client.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "hypervisor/qemu/unix_socket.hpp"

namespace sgm::qemu::testing {

using hypervisor::testing::Message;
using wire::RingState;

Descriptor make_ring(std::uint64_t size, int seals) {
    Descriptor memory{::memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    EXPECT_EQ(::ftruncate(memory.get(), static_cast<off_t>(size)), 0);
    EXPECT_EQ(::fcntl(memory.get(), F_ADD_SEALS, seals), 0);
    return memory;
}

Descriptor try_connect(const std::filesystem::path& path) {
    auto socket = connect_to(path);
    return socket ? std::move(*socket) : Descriptor{};
}

void send_hello(int socket, const wire::RingHello& hello, std::span<const int> descriptors) {
    EXPECT_TRUE(send_with(socket, bytes_of(hello), descriptors));
}

wire::Status hello_status(int socket) {
    wire::RingHelloReply reply{};
    EXPECT_EQ(::recv(socket, &reply, sizeof(reply), MSG_WAITALL),
              static_cast<ssize_t>(sizeof(reply)));
    EXPECT_EQ(reply.magic, wire::kOpMagic);
    return static_cast<wire::Status>(reply.status);
}

RingClient::RingClient(const std::filesystem::path& path, Descriptor memory)
    : memory_{std::move(memory)}, socket_{try_connect(path)} {
    send_hello(socket_.get(), kHello, std::array{memory_.get()});
    EXPECT_EQ(hello_status(socket_.get()), wire::Status::ok);
    bytes_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0));
}

RingClient::~RingClient() {
    ::munmap(bytes_, wire::kRingSize);
}

void RingClient::put_call(Bytes message, std::uint32_t size) {
    std::memcpy(bytes_ + wire::kRingCallOffset, message.data(), message.size());
    header().call_size = size;
    set_state(RingState::call);
}

Message RingClient::call(Bytes message) {
    put_call(message, static_cast<std::uint32_t>(message.size()));
    return await_reply();
}

Message RingClient::await_reply() {
    const auto is_waiting = [&] {
        return __atomic_load_n(&header().state, __ATOMIC_SEQ_CST) ==
               static_cast<std::uint32_t>(RingState::call);
    };
    while (is_waiting()) {
        constexpr timespec kLookInterval{.tv_sec = 1, .tv_nsec = 0};
        __atomic_store_n(&header().client_asleep, 1, __ATOMIC_SEQ_CST);
        futex(FUTEX_WAIT, static_cast<std::uint32_t>(RingState::call), &kLookInterval);
        __atomic_store_n(&header().client_asleep, 0, __ATOMIC_SEQ_CST);
        pollfd socket{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
        if (::poll(&socket, 1, 0) != 0 && is_waiting()) {
            ADD_FAILURE() << "the server has gone and left a call unanswered";
            return {};
        }
    }
    const std::uint8_t* reply = bytes_ + wire::kRingReplyOffset;
    Message message{reply, reply + header().reply_size};
    set_state(RingState::idle);
    return message;
}

bool RingClient::server_hung_up() {
    char byte = 0;
    return ::recv(socket_.get(), &byte, 1, 0) == 0;
}

void RingClient::set_state(RingState state) {
    __atomic_store_n(&header().state, static_cast<std::uint32_t>(state), __ATOMIC_SEQ_CST);
    futex(FUTEX_WAKE, 1);
}

void RingClient::futex(int operation, std::uint32_t value, const timespec* timeout) {
    ::syscall(SYS_futex, &header().state, operation, value, timeout, nullptr, 0);
}

wire::Status status_of(Bytes reply) {
    const auto header = Reader{reply}.take<wire::OpHeader>();
    EXPECT_TRUE(header.has_value());
    return header ? static_cast<wire::Status>(header->status) : wire::Status::internal;
}

}  // namespace sgm::qemu::testing
