// SPDX-License-Identifier: MIT
// Where a memory backend lies in guest-physical space, from QEMU's own `info mtree -f`. QEMU is on
// the untrusted side of nothing here: it runs the VM. Still the text is parsed by a total function.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "config/error.hpp"

namespace sgm::qemu {

struct MappedRange {
    std::uint64_t start;  // guest-physical
    std::uint64_t size;
    std::uint64_t offset;  // in the backend's file
    [[nodiscard]] bool operator==(const MappedRange&) const = default;
};

// The RAM of the backend whose file has `file_size` bytes: ascending, not overlapping, adjoining
// ranges joined, at most wire::kMaxRamRanges. `backend` is its name in the map; empty: the one that
// fits the file's size. An error says what in the map was not understood.
[[nodiscard]] config::Result<std::vector<MappedRange>> parse_memory_map(std::string_view mtree,
                                                                        std::string_view backend,
                                                                        std::uint64_t file_size);

}  // namespace sgm::qemu
