// SPDX-License-Identifier: MIT
// A Xen made of bytes: answers hypervisor/xen/shim.h from synthetic guests, and keeps account of
// what the port takes and must give back. shim.h names no instance, so there is one for the
// program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::xen::testing {

class FakeXen final {
  public:
    // Forgets everything before.
    void reset(std::vector<hypervisor::testing::SyntheticGuest*> guests);
    // From now on nobody finds it; who has a reference may go on.
    void destroy(const hypervisor::testing::SyntheticGuest& guest);

    std::uint64_t clock_ns = 1'000'000'000;
    std::uint64_t clock_step_ns = 0;

    // What is still taken.
    [[nodiscard]] int references() const;
    [[nodiscard]] int pauses() const;
    // The first rule of shim.h that was broken; empty: none. `after_a_call`: nothing may be taken.
    [[nodiscard]] std::string complaint(bool after_a_call = true) const;
    void complain(std::string what);
};

[[nodiscard]] FakeXen& fake_xen();

}  // namespace sgm::xen::testing
