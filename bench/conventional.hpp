// SPDX-License-Identifier: MIT
// The process list without protection: what the enclave's list is compared with. Everything that
// is known of the kernel comes from the same attach, all read the same RAM file.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "guest/linux/kernel.hpp"
#include "hypervisor/core/port.hpp"
#include "wire/owner.hpp"

namespace sgm::bench {

using Rows = std::vector<wire::ProcessRow>;

// Method a: field by field through the port's memory, a page walk for each. False: a fault.
[[nodiscard]] bool list_by_field(hypervisor::Domain& domain, const guest::Kernel& kernel,
                                 Rows& rows);

// What a program written for this one purpose would do: the RAM file mapped, offsets in variables,
// no checks but that an address lies in the file. 4-level paging.
class HandWritten final {
  public:
    // All of the file is RAM: `below_4g` bytes from 0 up, the rest from 4 GiB up.
    HandWritten(Bytes ram, std::uint64_t below_4g, const guest::Kernel& kernel);

    // A page walk for each access. False: a fault.
    [[nodiscard]] bool list(Rows& rows) const;
    // Method b: pages remembered, so that most processes cost a page walk or two.
    [[nodiscard]] bool list_with_cache(Rows& rows) const;

  private:
    struct LastPage {
        std::uint64_t page = ~std::uint64_t{0};
        const std::uint8_t* memory = nullptr;
    };
    template <typename Lookup>
    [[nodiscard]] bool list(Rows& rows, const Lookup& lookup) const;
    [[nodiscard]] const std::uint8_t* physical(std::uint64_t address, std::size_t size) const;
    [[nodiscard]] const std::uint8_t* virtual_address(std::uint64_t address,
                                                      std::size_t size) const;

    Bytes ram_;
    std::uint64_t below_4g_;
    std::uint64_t root_;
    std::uint64_t init_task_;
    guest::TaskLayout at_;
    std::uint32_t cred_uid_;
};

}  // namespace sgm::bench
