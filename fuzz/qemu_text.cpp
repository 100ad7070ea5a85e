// SPDX-License-Identifier: MIT
// What QEMU prints on its monitor: the memory map and the registers.
#include <array>

#include "fuzz/target.hpp"
#include "hypervisor/qemu/memory_map.hpp"
#include "hypervisor/qemu/registers.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::fuzz {
namespace {

constexpr std::uint64_t kFileSize = 5ull << 30;

constexpr std::string_view kMap = R"(FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): m
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom
  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000
  0000000000100000-000000007fffffff (prio 0, ram): m @0000000000100000
  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic
  0000000100000000-00000001bfffffff (prio 0, ram): m @0000000080000000

)";

constexpr std::string_view kRegisters = R"(
CPU#0
RAX=ffffffff8a6c0b90 RBX=0000000000000000 RCX=0000000000000001 RDX=4000000000000000
RIP=ffffffff8a6c0b9e RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033 CR2=00007f1c5c000a28 CR3=0000000102a3c000 CR4=000006f0
EFER=0000000000000d01
)";

}  // namespace

void run(Bytes input) {
    static const std::array<std::vector<qemu::MemoryBlock>, 3> kBlocks{
        {{{"m", kFileSize}}, {{"", kFileSize}}, {{"m", kFileSize}, {"n", kFileSize / 2}}}};
    Choices choices{input};
    const std::uint8_t what = choices.byte() % 5;
    const std::string_view text = text_of(choices.rest());
    if (what == 0) static_cast<void>(qemu::parse_registers(text, 0));
    if (what == 1) static_cast<void>(qemu::ram_blocks_of(text));
    if (what < 2) return;
    const auto& blocks = kBlocks[what - 2u];
    const auto map = qemu::parse_memory_map(text, blocks);
    if (!map) return;
    check(!map->empty() && map->size() <= wire::kMaxRamRanges, "ranges keep to their bound");
    std::uint64_t end = 0;
    for (const auto& range : *map) {
        check(range.size != 0 && range.start >= end, "ranges ascend");
        check(range.start + range.size > range.start, "no range wraps around");
        check(range.block < blocks.size(), "a range is of a block that was named");
        const std::uint64_t size = blocks[range.block].size;
        check(range.offset <= size && range.size <= size - range.offset,
              "a range lies in the file");
        end = range.start + range.size;
    }
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (std::uint8_t what = 0; what < 5; ++what)
        result.push_back(
            Recorder{}.put(what).put_bytes(octets_of(what == 0 ? kRegisters : kMap)).octets());
    return result;
}

}  // namespace sgm::fuzz
