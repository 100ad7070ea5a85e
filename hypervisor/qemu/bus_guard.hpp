// SPDX-License-Identifier: MIT
// Reading a mapped file that somebody has cut short raises SIGBUS, which would end this process and
// with it the watch over every other VM. Inside a guarded range a page of zeros takes the lost
// page's place, the range counts as lost, and the read goes on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>

#include "config/error.hpp"

namespace sgm::qemu {

class BusGuard final {
  public:
    static constexpr std::size_t kMaxRanges = 16384;

    // The range is a mapping of its own, of pages of `page_size`, and stays until this is gone.
    [[nodiscard]] static config::Result<BusGuard> watch(const void* begin, std::uint64_t size,
                                                        std::uint64_t page_size);
    ~BusGuard();
    BusGuard(BusGuard&& other) noexcept;
    BusGuard& operator=(BusGuard&&) = delete;

    // What was read from the range may be zeros that the file never held.
    [[nodiscard]] bool lost() const;

  private:
    explicit BusGuard(std::size_t slot) : slot_{slot} {}
    std::size_t slot_;
};

}  // namespace sgm::qemu
