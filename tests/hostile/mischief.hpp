// SPDX-License-Identifier: MIT
// What the hostile host wants to do, and what it has done.
#pragma once

#include <atomic>

namespace sgm::hostile {

struct Mischief {
    std::atomic<bool> dropping = false;
    std::atomic<unsigned> flips_wanted = 0;
    std::atomic<unsigned> replays_wanted = 0;
    std::atomic<unsigned> flipped = 0;
    std::atomic<unsigned> replayed = 0;
};

// Takes one from `wanted`; false when none is left. For counters that several threads take from.
inline bool take_one(std::atomic<unsigned>& wanted) {
    unsigned left = wanted;
    while (left > 0)
        if (wanted.compare_exchange_weak(left, left - 1)) return true;
    return false;
}

}  // namespace sgm::hostile
