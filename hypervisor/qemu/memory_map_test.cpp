// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/memory_map.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sgm::qemu {
namespace {

constexpr std::uint64_t kMiB = 1ull << 20;
constexpr std::uint64_t kGiB = 1ull << 30;

// QEMU 7.2, -machine q35 -m 5G -smp 2, shortened where a device follows the other.
constexpr std::string_view kQ35 = R"(FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan
  0000000000000010-000000000000001f (prio 0, i/o): io @0000000000000010
  0000000000000cf9-0000000000000cf9 (prio 1, i/o): lpc-reset-control

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 AS "cpu-memory-1", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): m
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom
  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000
  0000000000100000-000000007fffffff (prio 0, ram): m @0000000000100000
  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic
  00000000fee00000-00000000feefffff (prio 4096, i/o): apic-msi
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
  0000000100000000-00000001bfffffff (prio 0, ram): m @0000000080000000

FlatView #2
 AS "cpu-smm-0", root: memory
 Root memory region: memory
  0000000000000000-00000000000bffff (prio 0, ram): m

)";

// QEMU 7.2, -machine pc -m 5G: i440fx, another split.
constexpr std::string_view kI440fx = R"(FlatView #0
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): m
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom
  0000000000100000-00000000bfffffff (prio 0, ram): m @0000000000100000
  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic
  0000000100000000-000000017fffffff (prio 0, ram): m @00000000c0000000

)";

std::string with(std::string_view text, std::string_view from, std::string_view to) {
    std::string result{text};
    for (std::size_t at = 0; (at = result.find(from, at)) != result.npos; at += to.size()) {
        result.replace(at, from.size(), to);
    }
    return result;
}

config::Result<std::vector<MappedRange>> parse_memory_map(std::string_view mtree,
                                                          std::string_view backend,
                                                          std::uint64_t file_size) {
    const MemoryBlock block{std::string{backend}, file_size};
    return qemu::parse_memory_map(mtree, {&block, 1});
}

std::string refusal(std::string_view text, std::string_view backend, std::uint64_t size) {
    const auto map = parse_memory_map(text, backend, size);
    return map ? "" : map.error().sentence;
}

TEST(MemoryMap, q35_splits_memory_at_2_gib) {
    const auto map = parse_memory_map(kQ35, "", 5 * kGiB);
    ASSERT_TRUE(map.has_value()) << map.error().sentence;
    EXPECT_EQ(*map,
              (std::vector<MappedRange>{
                  {0, 0xc0000, 0}, {kMiB, 2 * kGiB - kMiB, kMiB}, {4 * kGiB, 3 * kGiB, 2 * kGiB}}));
}

TEST(MemoryMap, i440fx_splits_memory_at_3_gib) {
    const auto map = parse_memory_map(kI440fx, "m", 5 * kGiB);
    ASSERT_TRUE(map.has_value()) << map.error().sentence;
    EXPECT_EQ(*map,
              (std::vector<MappedRange>{
                  {0, 0xc0000, 0}, {kMiB, 3 * kGiB - kMiB, kMiB}, {4 * kGiB, 2 * kGiB, 3 * kGiB}}));
}

TEST(MemoryMap, the_marks_of_kvm_and_line_ends_of_the_monitor_do_not_matter) {
    const std::string text =
        with(with(kQ35, ": m\n", ": m KVM\n"), "0000000080000000\n", "0000000080000000 KVM\n");
    EXPECT_EQ(parse_memory_map(text, "", 5 * kGiB).value(),
              parse_memory_map(kQ35, "", 5 * kGiB).value());
}

TEST(MemoryMap, adjoining_ranges_are_joined) {
    const std::string text =
        with(kQ35, "(prio 1, rom): pc.rom", "(prio 1, ram): m @00000000000c0000");
    const auto map = parse_memory_map(text, "m", 5 * kGiB);
    ASSERT_TRUE(map.has_value());
    EXPECT_EQ(map->front().size, 0xe0000u);
}

TEST(MemoryMap, a_map_that_does_not_fit_the_file_is_an_error_that_says_so) {
    EXPECT_NE(refusal(kQ35, "", 4 * kGiB).find("fit the memory file's"), std::string::npos);
    EXPECT_NE(refusal(kQ35, "m", 4 * kGiB).find("beyond the end of the memory file"),
              std::string::npos);
    EXPECT_NE(refusal(kQ35, "other", 5 * kGiB).find("no RAM is called 'other'; there is: m"),
              std::string::npos);
    const std::string two =
        with(kQ35, "(prio 1, rom): pc.rom", "(prio 1, ram): n @000000013ffe0000");
    EXPECT_NE(refusal(two, "", 5 * kGiB).find("2 of its RAM blocks (m, n)"), std::string::npos);
    EXPECT_EQ(refusal(two, "m", 5 * kGiB), "");
}

TEST(MemoryMap, a_map_that_makes_no_sense_is_refused) {
    EXPECT_NE(refusal("", "", kGiB), "");
    EXPECT_NE(refusal("unknown command: 'info mtree'", "", kGiB), "");
    EXPECT_NE(refusal(with(kQ35, "0000000100000000-", "0000000010000000-"), "m", 5 * kGiB), "")
        << "overlap";
    EXPECT_NE(refusal(with(kQ35, "00000001bfffffff", "00000001bffffff0"), "m", 5 * kGiB), "")
        << "not pages";
    EXPECT_NE(refusal(with(kQ35, "00000001bfffffff", "00000000bfffffff"), "m", 5 * kGiB), "")
        << "backwards";
    EXPECT_NE(refusal(with(kQ35, "00000001bfffffff", "ffffffffffffffff"), "m", 5 * kGiB), "")
        << "all there is";
    EXPECT_NE(refusal(with(kQ35, "@0000000080000000", "@ffffffff80000000"), "m", 5 * kGiB), "");
    EXPECT_NE(refusal(with(kQ35, "(prio 0, ram): m @", "what is this "), "m", 5 * kGiB), "");
}

// QEMU 7.2, -machine q35, two NUMA nodes with a backend each and a pc-dimm.
constexpr std::string_view kNuma = R"(FlatView #2
 AS "memory", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): a
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom
  0000000000100000-000000007fffffff (prio 0, ram): a @0000000000100000
  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram
  0000000100000000-00000001bfffffff (prio 0, ram): /objects/b
  00000001c0000000-00000001ffffffff (prio 0, ram): mem2
)";

TEST(MemoryMap, several_backends_give_one_map_and_device_memory_is_no_ram) {
    const std::vector<MemoryBlock> blocks{{"b", 3 * kGiB}, {"a", 2 * kGiB}, {"mem2", kGiB}};
    const auto map = qemu::parse_memory_map(kNuma, blocks);
    ASSERT_TRUE(map.has_value()) << map.error().sentence;
    EXPECT_EQ(*map, (std::vector<MappedRange>{{0, 0xc0000, 0, 1},
                                              {kMiB, 2 * kGiB - kMiB, kMiB, 1},
                                              {4 * kGiB, 3 * kGiB, 0, 0},
                                              {7 * kGiB, kGiB, 0, 2}}));
}

TEST(MemoryMap, one_block_given_twice_is_refused) {
    const std::vector<MemoryBlock> blocks{{"a", 2 * kGiB}, {"a", 2 * kGiB}};
    EXPECT_FALSE(qemu::parse_memory_map(kNuma, blocks).has_value());
}

TEST(MemoryMap, blocks_are_listed_with_their_lowest_address) {
    const auto blocks = ram_blocks_of(kNuma);
    ASSERT_TRUE(blocks.has_value());
    ASSERT_EQ(blocks->size(), 4u);
    EXPECT_EQ(blocks->at(1).name, "b");
    EXPECT_EQ(blocks->at(1).start, 4 * kGiB);
}

TEST(MemoryMap, any_damage_gives_a_map_within_the_file_or_an_error) {
    std::mt19937_64 random{5};
    constexpr std::string_view kBytes = "0123456789abcdef-(), :@\nm";
    for (int round = 0; round < 20'000; ++round) {
        std::string text{kQ35};
        for (std::uint64_t n = 1 + random() % 4; n > 0; --n) {
            text[random() % text.size()] = kBytes[random() % kBytes.size()];
        }
        if (random() % 8 == 0) text.resize(random() % text.size());
        const auto map = parse_memory_map(text, random() % 2 != 0 ? "m" : "", 5 * kGiB);
        if (!map) continue;
        std::uint64_t end = 0;
        for (const MappedRange& range : *map) {
            ASSERT_GE(range.start, end);
            ASSERT_GT(range.size, 0u);
            ASSERT_LE(range.offset + range.size, 5 * kGiB);
            end = range.start + range.size;
        }
        ASSERT_LE(end, 1ull << 52);
    }
}

}  // namespace
}  // namespace sgm::qemu
