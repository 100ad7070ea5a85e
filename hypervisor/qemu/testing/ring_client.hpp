// SPDX-License-Identifier: MIT
// The other end of a ring (wire/ring.hpp), for tests: what the enclave and its host do with it, and
// what a host can do to it.
#pragma once

#include <fcntl.h>
#include <time.h>

#include <filesystem>
#include <span>

#include "config/descriptor.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "wire/ring.hpp"

namespace sgm::qemu::testing {

using config::Descriptor;

[[nodiscard]] Descriptor make_ring(std::uint64_t size = wire::kRingSize, int seals = F_SEAL_SHRINK);
// Empty when nobody listens.
[[nodiscard]] Descriptor try_connect(const std::filesystem::path& path);

inline constexpr wire::RingHello kHello{
    .magic = wire::kOpMagic, .version = wire::kProtocolVersion, .size = wire::kRingSize};
void send_hello(int socket, const wire::RingHello& hello, std::span<const int> descriptors);
[[nodiscard]] wire::Status hello_status(int socket);

class RingClient final {
  public:
    explicit RingClient(const std::filesystem::path& path, Descriptor memory = make_ring());
    ~RingClient();
    RingClient(const RingClient&) = delete;
    RingClient& operator=(const RingClient&) = delete;

    wire::RingHeader& header() { return *reinterpret_cast<wire::RingHeader*>(bytes_); }
    void put_call(Bytes message, std::uint32_t size);
    // A call and its whole reply, an OpHeader and a payload.
    hypervisor::testing::Message call(Bytes message);
    // Empty, and a failure, when the server ends before it answers.
    hypervisor::testing::Message await_reply();
    // Waits for the connection's end as the server sees it.
    bool server_hung_up();
    void set_state(wire::RingState state);

  private:
    void futex(int operation, std::uint32_t value, const timespec* timeout = nullptr);

    Descriptor memory_;
    Descriptor socket_;
    std::uint8_t* bytes_ = nullptr;
};

// What such a reply says.
[[nodiscard]] wire::Status status_of(Bytes reply);
[[nodiscard]] inline Bytes payload_of(Bytes reply) {
    return reply.subspan(sizeof(wire::OpHeader));
}

}  // namespace sgm::qemu::testing
