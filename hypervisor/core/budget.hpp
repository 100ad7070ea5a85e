// SPDX-License-Identifier: MIT
// How much work one call may cause. What does not fit is answered as not begun, or with a
// continuation, so that a request never stalls the hypervisor.
#pragma once

#include <cstdint>

#include "hypervisor/core/port.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// Reads of guest memory, each of at most a page: a page-table entry counts as one. About 30 ms.
// What has begun is finished first: one row of a walk, one `read`; together below 2,000 more.
inline constexpr std::uint64_t kMaxAccesses = 1u << 20;
// What the registers of one vCPU count as: one batch reads those of at most 64.
inline constexpr std::uint64_t kRegistersCost = kMaxAccesses / 64;
// vCPUs are not held longer than this, plus the time of what has begun.
inline constexpr std::uint64_t kMaxHoldNs = 100'000'000;

class Budget final {
  public:
    explicit Budget(Port& port) : port_{port} {}

    // From now on the budget also ends when the port's clock reaches `deadline`.
    void end_at(std::uint64_t deadline) {
        deadline_ = deadline;
        next_clock_check_ = accesses_;
    }

    void spend_access() {
        ++accesses_;
        if (accesses_ < next_clock_check_) return;
        next_clock_check_ = accesses_ + kAccessesBetweenClockChecks;
        if (port_.now_ns() >= deadline_) accesses_ = kMaxAccesses;
    }
    // A vCPU's registers: a port may have to stop it, or to ask another process.
    void spend_registers() {
        accesses_ += kRegistersCost - 1;
        spend_access();
    }
    [[nodiscard]] bool exhausted() const { return accesses_ >= kMaxAccesses; }

    // Bytes of guest-physical memory that `search` goes over.
    void spend_search(std::uint64_t bytes) { searched_ += bytes; }
    [[nodiscard]] std::uint64_t search_left() const {
        return searched_ >= wire::kMaxSearchBytes ? 0 : wire::kMaxSearchBytes - searched_;
    }

  private:
    static constexpr std::uint64_t kAccessesBetweenClockChecks = 1024;
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};

    Port& port_;
    std::uint64_t accesses_ = 0;
    std::uint64_t searched_ = 0;
    std::uint64_t deadline_ = kNever;
    std::uint64_t next_clock_check_ = kNever;
};

}  // namespace sgm::hypervisor
