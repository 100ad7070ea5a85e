// SPDX-License-Identifier: MIT
// Between the host's process and the monitor's: messages while the enclave is made, then one
// shared page through which each hands the turn to the other.
#pragma once

#include <linux/futex.h>
#include <sched.h>
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

// Of one of the two sides of a gate.
struct Side {
    std::atomic<std::uint32_t> asleep;
    std::atomic<std::uint32_t> cpu;  // on which it began to wait
};

// Of one thread. A cache line of its own.
struct alignas(64) Gate {
    std::atomic<Turn> turn;
    Side host;
    Side enclave;
    std::atomic<std::uint32_t> enclave_thread;  // its id, for SoftEnclave::start() alone
    std::uint64_t rdi;  // whoever has the turn reads these and writes them anew
    std::uint64_t rsi;
    std::uint64_t rdx;
};
static_assert(sizeof(Gate) == 64);
static_assert(sizeof(std::atomic<Turn>) == 4 && std::atomic<Turn>::is_always_lock_free);

struct Gates {
    std::array<Gate, kMaxThreads> threads;
    std::uint64_t fault_offset;  // EnclaveLoss::offset
    std::uint32_t fault_signal;  // set before the monitor ends because of a fault inside
};

// Where the two sides of a gate run, as far as a side about to wait knows.
enum class Whereabouts : std::uint8_t {
    together,  // on one CPU: the other cannot run while this one looks
    apart,
};

// How often a side looks before it sleeps: some tens of microseconds, about what a wake-up costs.
// It learns: each wait that went to sleep halves it, so that a side whose partner is always slow
// gives the core to others at once. One that ended in time makes it whole again, and so does every
// eighth that did not: two sides that have become impatient would otherwise wait for each other's
// wake-ups for ever. Every sixteenth looks long, some hundreds of microseconds: a virtual machine's
// CPU that was idle may take that to wake. Together a side does not look at all; once they have
// parted it looks long, for the same reason.
class Patience final {
  public:
    // True when `ready` was, in time.
    template <typename Ready>
    bool spin(Whereabouts whereabouts, Ready ready) {
        if (whereabouts == Whereabouts::together) {
            turns_ = kLong;
            return ready();
        }
        for (int i = 0; i < turns_; ++i) {
            if (ready()) {
                *this = {};
                return true;
            }
            __builtin_ia32_pause();
        }
        turns_ = after_sleep(++slept_);
        return false;
    }

  private:
    [[nodiscard]] int after_sleep(unsigned count) const {
        if (count % 16 == 0) return kLong;
        if (count % 8 == 0) return kMost;
        return std::clamp(turns_ / 2, kLeast, kMost);
    }

    static constexpr int kLeast = 64;
    static constexpr int kMost = 2048;
    static constexpr int kLong = 16'384;
    int turns_ = kMost;
    unsigned slept_ = 0;
};

inline void wake(std::atomic<Turn>& turn) {
    ::syscall(SYS_futex, &turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

// Waits until the turn is not `theirs` any more.
inline Turn await_turn(Gate& gate, Turn theirs, Side& mine, Whereabouts whereabouts,
                       Patience& patience) {
    Turn seen = theirs;
    if (patience.spin(whereabouts,
                      [&] { return (seen = gate.turn.load(std::memory_order_acquire)) != theirs; }))
        return seen;
    for (;;) {
        mine.asleep.store(1);
        const Turn now = gate.turn.load();
        if (now != theirs) {
            mine.asleep.store(0);
            return now;
        }
        ::syscall(SYS_futex, &gate.turn, FUTEX_WAIT, static_cast<std::uint32_t>(now), nullptr,
                  nullptr, 0);
    }
}

// Tells the other side where this one is, before the turn is given away.
inline Whereabouts note_whereabouts(Side& mine, const Side& other) {
    const auto cpu = static_cast<std::uint32_t>(::sched_getcpu());
    mine.cpu.store(cpu, std::memory_order_relaxed);
    return other.cpu.load(std::memory_order_relaxed) == cpu ? Whereabouts::together
                                                            : Whereabouts::apart;
}

}  // namespace sgm::sgx::soft
