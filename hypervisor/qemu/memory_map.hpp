// SPDX-License-Identifier: MIT
// Where memory backends lie in guest-physical space, from QEMU's own `info mtree -f`. QEMU is on
// the untrusted side of nothing here: it runs the VM. Still the text is parsed by a total function.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/error.hpp"

namespace sgm::qemu {

// A memory backend whose file is at hand.
struct MemoryBlock {
    std::string name;    // its object id in QEMU; empty: the one block that fits the size
    std::uint64_t size;  // of the file, bytes
    [[nodiscard]] bool operator==(const MemoryBlock&) const = default;
};

struct MappedRange {
    std::uint64_t start;  // guest-physical
    std::uint64_t size;
    std::uint64_t offset;   // in the block's file
    std::size_t block = 0;  // index into the blocks
    [[nodiscard]] bool operator==(const MappedRange&) const = default;
};

// All RAM of these blocks: ascending, not overlapping, adjoining ranges joined, at most
// wire::kMaxRamRanges. An error says what in the map was not understood.
[[nodiscard]] config::Result<std::vector<MappedRange>> parse_memory_map(
    std::string_view mtree, std::span<const MemoryBlock> blocks);

// Where each RAM block begins that the CPUs see: device memory too, but no ROM.
struct SeenBlock {
    std::string name;
    std::uint64_t start;   // guest-physical, of its lowest range
    std::uint64_t offset;  // of that range in the block
};
[[nodiscard]] config::Result<std::vector<SeenBlock>> ram_blocks_of(std::string_view mtree);

}  // namespace sgm::qemu
