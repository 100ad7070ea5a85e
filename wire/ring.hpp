// SPDX-License-Identifier: MIT
// The shared memory between an enclave and the hypervisor process (qemu port): one call at a
// time, an OpHeader and its payload each way. The host maps it too and may write anything into it
// at any time, so both sides copy once and believe only what is sealed.
//
// The client creates it as a memfd of kRingSize bytes, sealed with F_SEAL_SHRINK | F_SEAL_GROW |
// F_SEAL_SEAL, connects to the hypervisor's Unix stream socket and sends the descriptor with one
// RingHello (SCM_RIGHTS). The hypervisor answers one RingHelloReply; closing the connection ends
// its use of the ring, and the client may hand the same memory to a new connection. It adds one to
// `connection` before it hangs up: a hypervisor's thread that sees another value there than at its
// hello leaves the ring alone. Who waits longer than its spin bound says so and sleeps with a
// (shared, not private) futex on `state`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "wire/sgm_op.hpp"

namespace sgm::wire {

enum class RingState : std::uint32_t {
    idle = 0,    // the enclave may write a call
    call = 1,    // the call is complete: the hypervisor's turn
    reply = 2,   // the reply is complete: the enclave's turn; it sets idle again
    closed = 3,  // either side has gone
};

struct RingHeader {
    std::uint32_t state;              // 0    RingState, accessed atomically; the futex word
    std::uint32_t hypervisor_asleep;  // 4    1: the hypervisor waits in the kernel, wake it
    std::uint32_t client_asleep;      // 8    1: the client waits in the kernel, likewise
    std::uint32_t connection;         // 12   the client counts here how often it has hung up
    std::uint32_t reserved_0[12];     // 16   one cache line for the words that are polled
    std::uint32_t call_size;          // 64   bytes at kRingCallOffset, OpHeader included
    std::uint32_t reply_size;         // 68   bytes at kRingReplyOffset, OpHeader included
    std::uint32_t reserved_1[14];     // 72
};
static_assert(sizeof(RingHeader) == 128);
static_assert(offsetof(RingHeader, connection) == 12 && offsetof(RingHeader, call_size) == 64);

struct RingHello {
    std::uint32_t magic;    // 0   kOpMagic
    std::uint32_t version;  // 4   kProtocolVersion
    std::uint64_t size;     // 8   kRingSize
};
static_assert(sizeof(RingHello) == 16);
struct RingHelloReply {
    std::uint32_t magic;  // 0   kOpMagic
    std::uint32_t
        status;  // 4   Status: ok, malformed (not a sealed memfd of the right size), internal
};
static_assert(sizeof(RingHelloReply) == 8);

inline constexpr std::uint32_t kRingMaxCall =
    sizeof(OpHeader) + sizeof(SealedHeader) + kMaxRequestSize;
inline constexpr std::uint32_t kRingMaxReply =
    sizeof(OpHeader) + sizeof(SealedHeader) + kMaxAnswerSize;
inline constexpr std::uint32_t kRingCallOffset = 4096;
inline constexpr std::uint32_t kRingReplyOffset = kRingCallOffset + 17 * 4096;
inline constexpr std::uint32_t kRingSize = kRingReplyOffset + 257 * 4096;
static_assert(kRingCallOffset + kRingMaxCall <= kRingReplyOffset);
static_assert(kRingReplyOffset + kRingMaxReply <= kRingSize);

}  // namespace sgm::wire
