// SPDX-License-Identifier: MIT
// Gives the two threads of a gate a CPU each when they are at it busily.
//
// The kernel wakes a thread where its waker runs if the CPU that it ran on is not known to be idle,
// and to a virtual machine's kernel a halted CPU is one that the host has taken away
// (available_idle_cpu() in Linux 6.18's kernel/sched/core.c). So two threads that once slept end up
// on one CPU and stay there, also beside a CPU that has nothing to do. For a call now and then that
// is best: no other CPU has to be woken. For many in a row it costs two context switches each.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "sgx/loader/soft/gate.hpp"

namespace sgm::sgx::soft {

class Placement final {
  public:
    using Clock = std::chrono::steady_clock;

    // Of each crossing into the enclave: whether the sides ought to part now. `now` gives the time
    // and is asked seldom. Trying in vain makes it rarer, up to once a second.
    template <typename Now>
    [[nodiscard]] bool wants_to_part(Whereabouts whereabouts, Now now) {
        if (whereabouts == Whereabouts::apart) {
            together_ = 0;
            if (++apart_ == kSettled) pause_ = kShortestPause;
            return false;
        }
        apart_ = 0;
        if (together_++ == 0) began_ = now();
        if (together_ < kMany) return false;
        together_ = 0;
        const auto time = now();
        if (time - began_ > kMany * kBusy || time < next_) return false;
        next_ = time + pause_;
        pause_ = std::min(pause_ * 2, kLongestPause);
        return true;
    }

  private:
    static constexpr unsigned kMany = 16;
    static constexpr std::chrono::nanoseconds kBusy{50'000};  // a crossing: what waking a CPU takes
    static constexpr unsigned kSettled = 1000;
    static constexpr std::chrono::nanoseconds kShortestPause{1'000'000};
    static constexpr std::chrono::nanoseconds kLongestPause{1'000'000'000};
    unsigned together_ = 0;
    unsigned apart_ = 0;
    Clock::time_point began_;
    Clock::time_point next_;
    std::chrono::nanoseconds pause_ = kShortestPause;
};

// Keeps the thread, which sleeps, off the caller's CPU for as long as this lives. It is the thread
// that moves and not the caller: a caller that has moved would wake it where it went.
class KeptAway final {
  public:
    explicit KeptAway(pid_t thread) : thread_{thread} {
        if (::sched_getaffinity(thread_, sizeof allowed_, &allowed_) != 0) return;
        cpu_set_t others = allowed_;
        CPU_CLR(static_cast<std::size_t>(::sched_getcpu()), &others);
        moved_ =
            CPU_COUNT(&others) != 0 && ::sched_setaffinity(thread_, sizeof others, &others) == 0;
    }
    ~KeptAway() {
        if (moved_) ::sched_setaffinity(thread_, sizeof allowed_, &allowed_);
    }
    KeptAway(const KeptAway&) = delete;
    KeptAway& operator=(const KeptAway&) = delete;
    [[nodiscard]] bool moved() const { return moved_; }

  private:
    pid_t thread_;
    cpu_set_t allowed_{};
    bool moved_ = false;
};

}  // namespace sgm::sgx::soft
