// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/ring_server.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <stop_token>
#include <thread>

#include "config/temporary_directory.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/testing/ring_client.hpp"

namespace sgm::qemu {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::ClientSession;
using hypervisor::testing::Message;
using hypervisor::testing::Registrar;
using testing::hello_status;
using testing::kHello;
using testing::make_ring;
using testing::payload_of;
using testing::RingClient;
using testing::send_hello;
using testing::status_of;
using testing::try_connect;
using wire::RingState;

crypto::SealingKeyPair hypervisor_keys() {
    std::array<std::uint8_t, 32> key{};
    key.fill(1);
    return crypto::SealingKeyPair::from_private(key);
}

class RingServerTest : public ::testing::Test {
  protected:
    RingServerTest() {
        spdlog::set_level(spdlog::level::off);  // one line for each refusal
        auto listening = RingServer::listen(path, 0600, gate);
        EXPECT_TRUE(listening.has_value()) << listening.error().sentence;
        if (listening) server = std::move(*listening);
    }

    config::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "socket";
    hypervisor::testing::SyntheticGuest guest{4ul << 20};
    hypervisor::testing::SyntheticPort port{{&guest}};
    const crypto::SigningKeyPair authority = crypto::SigningKeyPair::generate().value();
    std::unique_ptr<hypervisor::Core> core =
        std::make_unique<hypervisor::Core>(port, hypervisor_keys(), authority.public_key(), false);
    CoreGate gate{*core};
    std::unique_ptr<RingServer> server;
};

TEST_F(RingServerTest, the_socket_is_for_its_owner_only) {
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(RingServerTest, an_ids_registers_and_reads_over_a_ring) {
    // The registrar asks the core directly for its nonce: nobody else uses it yet.
    const Registrar registrar{*core, guest.id};
    RingClient client{path};
    const Message opened = client.call(registrar.signed_by(authority));
    ASSERT_EQ(status_of(opened), wire::Status::ok);
    const auto session = ClientSession::confirm(registrar, payload_of(opened));
    ASSERT_NE(session, nullptr);
    for (int i = 0; i < 100; ++i) {
        const Message reply = client.call(
            session->seal(wire::Command::request,
                          BatchBuilder{}.read(0, wire::Paging::physical, 0x1000, 4096).bytes()));
        ASSERT_EQ(status_of(reply), wire::Status::ok);
        ASSERT_TRUE(session->open(wire::Command::request, payload_of(reply)).has_value());
    }
}

TEST_F(RingServerTest, the_same_ring_may_be_brought_again) {
    const Descriptor memory = make_ring();
    for (int i = 0; i < 3; ++i) {
        RingClient client{path, Descriptor{::dup(memory.get())}};
        EXPECT_EQ(status_of(client.call(hypervisor::testing::frame(wire::Command::identity, {}))),
                  wire::Status::ok);
    }
}

TEST_F(RingServerTest, a_call_that_was_waiting_before_the_connection_is_served) {
    Descriptor memory = make_ring();
    const Message call = hypervisor::testing::frame(wire::Command::identity, {});
    const wire::RingHeader header{.state = static_cast<std::uint32_t>(RingState::call),
                                  .hypervisor_asleep = 0,
                                  .client_asleep = 0,
                                  .connection = 3,
                                  .reserved_0 = {},
                                  .call_size = static_cast<std::uint32_t>(call.size()),
                                  .reply_size = 0,
                                  .reserved_1 = {}};
    ASSERT_EQ(::pwrite(memory.get(), &header, sizeof(header), 0),
              static_cast<ssize_t>(sizeof(header)));
    ASSERT_EQ(::pwrite(memory.get(), call.data(), call.size(), wire::kRingCallOffset),
              static_cast<ssize_t>(call.size()));
    RingClient client{path, std::move(memory)};
    EXPECT_EQ(status_of(client.await_reply()), wire::Status::ok);
}

TEST_F(RingServerTest, who_is_left_does_not_answer_the_next_connections_call) {
    RingClient client{path};
    const Message call = hypervisor::testing::frame(wire::Command::identity, {});
    EXPECT_EQ(status_of(client.call(call)), wire::Status::ok);
    client.header().connection += 1;
    client.put_call(call, static_cast<std::uint32_t>(call.size()));
    EXPECT_TRUE(client.server_hung_up());
    EXPECT_EQ(client.header().state, static_cast<std::uint32_t>(RingState::call));
}

TEST_F(RingServerTest, several_clients_are_served_at_once) {
    RingClient first{path};
    RingClient second{path};
    const Message call = hypervisor::testing::frame(wire::Command::identity, {});
    for (int i = 0; i < 50; ++i) {
        EXPECT_EQ(status_of(first.call(call)), wire::Status::ok);
        EXPECT_EQ(status_of(second.call(call)), wire::Status::ok);
    }
}

TEST_F(RingServerTest, impossible_sizes_are_malformed_and_read_nothing_beyond_the_ring) {
    RingClient client{path};
    const Message call = hypervisor::testing::frame(wire::Command::identity, {});
    for (const std::uint32_t size :
         {0u, 15u, 17u, wire::kRingMaxCall, wire::kRingMaxCall + 1, 0x7fff'ffffu, 0xffff'ffffu}) {
        client.put_call(call, size);
        EXPECT_EQ(status_of(client.await_reply()), wire::Status::malformed) << size;
    }
    EXPECT_EQ(status_of(client.call(call)), wire::Status::ok);
}

TEST_F(RingServerTest, a_closed_ring_ends_the_connection_and_states_that_are_none_do_nothing) {
    RingClient client{path};
    client.set_state(static_cast<RingState>(77));
    client.set_state(RingState::reply);
    EXPECT_EQ(status_of(client.call(hypervisor::testing::frame(wire::Command::identity, {}))),
              wire::Status::ok);
    client.set_state(RingState::closed);
    EXPECT_TRUE(client.server_hung_up());
}

TEST_F(RingServerTest, memory_that_could_be_taken_away_is_not_mapped) {
    const auto refused = [&](wire::RingHello hello, std::vector<int> descriptors) {
        const Descriptor socket = try_connect(path);
        send_hello(socket.get(), hello, descriptors);
        EXPECT_EQ(hello_status(socket.get()), wire::Status::malformed);
    };
    const Descriptor good = make_ring();
    const Descriptor unsealed = make_ring(wire::kRingSize, 0);
    const Descriptor small = make_ring(wire::kRingSize - 4096);
    const Descriptor file{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    const Descriptor read_only = make_ring(wire::kRingSize, F_SEAL_SHRINK | F_SEAL_WRITE);
    refused(kHello, {unsealed.get()});
    refused(kHello, {small.get()});
    refused(kHello, {file.get()});
    refused(kHello, {read_only.get()});
    refused(kHello, {});
    refused(kHello, {good.get(), good.get()});
    wire::RingHello hello = kHello;
    hello.magic ^= 1;
    refused(hello, {good.get()});
    hello = kHello;
    hello.version = 2;
    refused(hello, {good.get()});
    hello = kHello;
    hello.size = 4096;
    refused(hello, {good.get()});
}

TEST_F(RingServerTest, descriptors_that_nobody_asked_for_are_not_kept) {
    const auto open_descriptors = [] {
        const std::filesystem::directory_iterator all{"/proc/self/fd"};
        return std::distance(begin(all), end(all));
    };
    const auto before = open_descriptors();
    {
        const Descriptor memory = make_ring();
        const Descriptor socket = try_connect(path);
        send_hello(socket.get(), kHello, std::array{memory.get(), memory.get()});
        (void)hello_status(socket.get());
        ::shutdown(socket.get(), SHUT_WR);
        char byte = 0;
        EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), 0) << "the server has closed its end";
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(RingServerTest, clients_that_hang_up_at_once_leave_room_for_others) {
    for (std::size_t i = 0; i < 2 * RingServer::kMaxConnections; ++i) {
        const Descriptor socket = try_connect(path);
        ASSERT_TRUE(static_cast<bool>(socket));
        if (i % 2 == 0) send_hello(socket.get(), kHello, {});
    }
    // Those before it in the queue are accepted first, and have hung up.
    EXPECT_NE(std::make_unique<RingClient>(path), nullptr);
}

TEST_F(RingServerTest, a_host_that_rewrites_the_ring_meanwhile_gains_nothing) {
    RingClient client{path};
    std::atomic<bool> attack = false;
    std::atomic<bool> at_it = false;
    const std::jthread host{[&](const std::stop_token& stop) {
        auto* bytes = reinterpret_cast<std::uint8_t*>(&client.header());
        const auto flip = [&](std::size_t at) {
            __atomic_fetch_xor(bytes + at, std::uint8_t{1}, __ATOMIC_RELAXED);
        };
        for (std::size_t i = 0; !stop.stop_requested(); ++i) {
            at_it = true;
            if (attack) {
                flip(wire::kRingCallOffset + sizeof(wire::OpHeader) + i % 200);
                flip(wire::kRingReplyOffset + sizeof(wire::OpHeader) + i % 200);
            }
            at_it = false;
            if (!attack) std::this_thread::yield();
        }
    }};
    const auto end_attack = [&] {
        attack = false;
        while (at_it)
            std::this_thread::yield();
    };
    const Message batch = BatchBuilder{}.read(0, wire::Paging::physical, 0x1000, 64).bytes();
    for (int i = 0; i < 200; ++i) {
        // The registrar asks the core directly; the server waits for this client meanwhile.
        const Registrar registrar{*core, guest.id};
        const Message opened = client.call(registrar.signed_by(authority));
        ASSERT_EQ(status_of(opened), wire::Status::ok);
        const auto session = ClientSession::confirm(registrar, payload_of(opened));
        ASSERT_NE(session, nullptr);
        attack = true;
        const Message reply = client.call(session->seal(wire::Command::request, batch));
        end_attack();
        // It was refused, or not authentic, or is the answer to what was asked.
        const auto answer = session->open(wire::Command::request, payload_of(reply));
        if (!answer) continue;
        const auto parts = hypervisor::testing::take_apart(*answer);
        ASSERT_TRUE(parts.has_value());
        ASSERT_EQ(parts->ops.at(0).result.size(), sizeof(wire::ReadResult) + 64);
    }
    EXPECT_EQ(status_of(client.call(hypervisor::testing::frame(wire::Command::identity, {}))),
              wire::Status::ok);
}

TEST_F(RingServerTest, a_socket_in_use_is_an_error_and_a_stale_one_is_replaced) {
    const auto refusal = [&] {
        const auto second = RingServer::listen(path, 0600, gate);
        return second ? std::string{} : second.error().sentence;
    };
    EXPECT_NE(refusal().find("in use"), std::string::npos);
    server.reset();
    EXPECT_FALSE(std::filesystem::exists(path));

    std::ofstream{path} << "somebody's file";
    EXPECT_NE(refusal().find("there is a file of that name"), std::string::npos);
    std::filesystem::remove(path);
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(path.string(), address.sun_path);
        const Descriptor stale{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        ASSERT_EQ(::bind(stale.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
                  0);
    }
    EXPECT_EQ(refusal(), "");
}

}  // namespace
}  // namespace sgm::qemu
