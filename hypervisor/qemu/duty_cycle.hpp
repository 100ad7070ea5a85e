// SPDX-License-Identifier: MIT
// A bound on the share of time that one VM's affairs may take: a bucket that time fills and use
// empties. The clock is the caller's.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sgm::qemu {

class DutyCycle final {
  public:
    // On the long run at most 1/`divisor` of the time, at most `capacity_ns` plus one use at once.
    constexpr DutyCycle(std::int64_t capacity_ns, std::int64_t divisor)
        : capacity_ns_{capacity_ns}, divisor_{divisor}, level_ns_{capacity_ns} {}

    [[nodiscard]] bool may_use(std::int64_t now_ns) {
        const std::int64_t passed = std::max<std::int64_t>(now_ns - last_ns_, 0);
        level_ns_ = std::min(capacity_ns_, level_ns_ + passed / divisor_);
        // What the division cut off counts the next time.
        last_ns_ = now_ns - (level_ns_ == capacity_ns_ ? 0 : passed % divisor_);
        return level_ns_ > 0;
    }
    void used(std::int64_t ns) { level_ns_ -= ns; }

  private:
    std::int64_t capacity_ns_;
    std::int64_t divisor_;
    std::int64_t level_ns_;
    std::int64_t last_ns_ = 0;
};

}  // namespace sgm::qemu
