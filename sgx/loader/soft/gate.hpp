// SPDX-License-Identifier: MIT
// Between the host's process and the monitor's: messages while the enclave is made, then one
// shared page through which each hands the turn to the other.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "sgx/image/layout.hpp"
#include "sgx/loader/loader.hpp"

namespace sgm::sgx::soft {

// ---- Making the enclave: SOCK_SEQPACKET on this descriptor of the monitor, nothing else open.

inline constexpr int kMonitorSocket = 3;

enum class SetupKind : std::uint32_t {
    load = 1,   // descriptors: image, SIGSTRUCT, fuse key, gates
    share = 2,  // descriptor: memory; `size` bytes of it
    start = 3,  // no answer: the filter goes up, and the turn in each gate becomes the host's
};
struct SetupRequest {
    SetupKind kind;
    std::uint32_t reserved;
    std::uint64_t size;
};
struct SetupReply {
    std::uint32_t ok;
    std::uint32_t thread_count;  // load
    std::uint64_t address;       // share: where the enclave sees it
    EnclaveIdentity identity;
    std::uint32_t reserved_2;
    std::array<char, 512> text;  // the error, or how the memory is protected; zero-terminated
};
static_assert(std::is_trivially_copyable_v<SetupReply>);

// ---- Running it.

enum class Turn : std::uint32_t {
    host = 0,
    enclave = 1,
    gone = 2,  // written by the host's keeper when the monitor's process has ended
};

// Of one thread. A cache line of its own.
struct alignas(64) Gate {
    std::atomic<Turn> turn;
    std::atomic<std::uint32_t> host_asleep;
    std::atomic<std::uint32_t> enclave_asleep;
    std::uint64_t rdi;  // whoever has the turn reads these and writes them anew
    std::uint64_t rsi;
    std::uint64_t rdx;
};
static_assert(sizeof(std::atomic<Turn>) == 4 && std::atomic<Turn>::is_always_lock_free);

struct Gates {
    std::array<Gate, kMaxThreads> threads;
    std::uint64_t fault_offset;  // EnclaveLoss::offset
    std::uint32_t fault_signal;  // set before the monitor ends because of a fault inside
};

// How often a side looks before it sleeps: some tens of microseconds, about what a wake-up costs.
// It learns: each wait that went to sleep halves it, so that a side whose partner is always slow
// gives the core to others at once. One that ended in time makes it whole again, and so does every
// eighth that did not: two sides that have become impatient would otherwise wait for each other's
// wake-ups for ever.
class Patience final {
  public:
    // True when `ready` was, in time.
    template <typename Ready>
    bool spin(Ready ready) {
        for (int i = 0; i < turns_; ++i) {
            if (ready()) {
                *this = {};
                return true;
            }
            __builtin_ia32_pause();
        }
        turns_ = ++slept_ % 8 == 0 ? kMost : std::max(turns_ / 2, kLeast);
        return false;
    }

  private:
    static constexpr int kLeast = 64;
    static constexpr int kMost = 2048;
    int turns_ = kMost;
    unsigned slept_ = 0;
};

inline void wake(std::atomic<Turn>& turn) {
    ::syscall(SYS_futex, &turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

// Gives the turn away; `asleep` is the other side's flag.
inline void hand_over(std::atomic<Turn>& turn, Turn to, const std::atomic<std::uint32_t>& asleep) {
    turn.store(to);
    if (asleep.load() != 0) wake(turn);
}

// Waits until the turn is not `theirs` any more; `asleep` is one's own flag.
inline Turn await_turn(std::atomic<Turn>& turn, Turn theirs, std::atomic<std::uint32_t>& asleep,
                       Patience& patience) {
    Turn seen = theirs;
    if (patience.spin([&] { return (seen = turn.load(std::memory_order_acquire)) != theirs; }))
        return seen;
    for (;;) {
        asleep.store(1);
        const Turn now = turn.load();
        if (now != theirs) {
            asleep.store(0);
            return now;
        }
        ::syscall(SYS_futex, &turn, FUTEX_WAIT, static_cast<std::uint32_t>(now), nullptr, nullptr,
                  0);
    }
}

}  // namespace sgm::sgx::soft
