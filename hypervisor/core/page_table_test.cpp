// SPDX-License-Identifier: MIT
#include "hypervisor/core/page_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::hypervisor {
namespace {

using testing::PageSize;
using testing::SyntheticGuest;
using wire::FaultKind;
using wire::Paging;

constexpr std::uint64_t kMiB = 1ull << 20;
constexpr std::uint64_t kGiB = 1ull << 30;
constexpr std::uint64_t kKernel = 0xffff'ffff'8000'0000;

// The guest's RAM as the translator sees it, without budget or cache of ranges.
class GuestWords final : public PhysicalWords {
  public:
    explicit GuestWords(SyntheticGuest& guest) : guest_{guest} {}
    std::optional<std::uint64_t> word(std::uint64_t physical) override {
        ++count;
        std::uint64_t value = 0;
        if (!guest_.read(physical, mutable_bytes_of(value))) return std::nullopt;
        return value;
    }
    int count = 0;

  private:
    SyntheticGuest& guest_;
};

class PageTable : public ::testing::TestWithParam<Paging> {
  protected:
    std::expected<std::uint64_t, wire::Fault> translate(std::uint64_t address) {
        return translator.translate(words, {guest.root(), guest.paging()}, address);
    }
    wire::Fault fault_of(std::uint64_t address) {
        translator.forget(guest.format);
        const auto result = translate(address);
        EXPECT_FALSE(result.has_value()) << std::hex << address << " -> " << result.value_or(0);
        return result ? wire::Fault{} : result.error();
    }
    void expect_fault(std::uint64_t address, FaultKind kind, std::uint32_t level) {
        const wire::Fault fault = fault_of(address);
        EXPECT_EQ(fault.address, address);
        EXPECT_EQ(fault.kind, kind);
        EXPECT_EQ(fault.level, level);
    }
    std::uint32_t levels() const { return static_cast<std::uint32_t>(GetParam()); }
    // A canonical address from any 64 bits.
    std::uint64_t canonical(std::uint64_t bits) const {
        const int shift = levels() == 5 ? 7 : 16;
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(bits << shift) >> shift);
    }

    SyntheticGuest guest{64 * kMiB, GetParam()};
    GuestWords words{guest};
    Translator translator;
};

INSTANTIATE_TEST_SUITE_P(Levels, PageTable,
                         ::testing::Values(Paging::four_level, Paging::five_level),
                         [](const auto& param) {
                             return param.param == Paging::four_level ? "four" : "five";
                         });

TEST_P(PageTable, random_mappings_of_all_sizes_translate_as_they_were_made) {
    std::mt19937_64 random{GetParam() == Paging::four_level ? 4u : 5u};
    guest.add_ram(4 * kGiB, 16 * kGiB);
    // One gigabyte of addresses holds pages of one size, so that mappings do not overlap.
    std::map<std::uint64_t, PageSize> gigabytes;
    struct Mapping {
        std::uint64_t address, physical, size;
    };
    std::vector<Mapping> mappings;
    constexpr std::array sizes = {PageSize::k4K, PageSize::k2M, PageSize::k1G};
    for (int i = 0; i < 600; ++i) {
        const std::uint64_t near = canonical(random());
        const std::uint64_t anywhere =
            i % 2 == 0 || mappings.empty() ? near : mappings[random() % mappings.size()].address;
        const PageSize size =
            gigabytes.try_emplace(anywhere / kGiB, sizes[random() % sizes.size()]).first->second;
        const auto bytes = static_cast<std::uint64_t>(size);
        const std::uint64_t address =
            size == PageSize::k1G ? anywhere / kGiB * kGiB
                                  : (anywhere / kGiB * kGiB + random() % kGiB) / bytes * bytes;
        const std::uint64_t physical = 4 * kGiB + random() % (15 * kGiB) / bytes * bytes;
        std::erase_if(mappings, [&](const Mapping& m) { return m.address == address; });
        guest.map(address, physical, size);
        mappings.push_back({address, physical, bytes});
    }
    translator.forget(guest.format);
    for (int i = 0; i < 20'000; ++i) {
        const Mapping& mapping = mappings[random() % mappings.size()];
        const std::uint64_t offset = random() % mapping.size;
        const auto result = translate(mapping.address + offset);
        ASSERT_TRUE(result.has_value()) << std::hex << mapping.address;
        ASSERT_EQ(*result, mapping.physical + offset) << std::hex << mapping.address;
    }
    EXPECT_EQ(guest.reads_outside_ram, 0u);
}

TEST_P(PageTable, every_missing_entry_is_reported_at_its_level) {
    const std::uint64_t address = kKernel + 5 * kGiB / 4;
    for (std::uint32_t level = levels(); level >= 1; --level) {
        guest.map(address, kMiB);
        guest.write_u64(guest.entry(address, level), 0x1234'5000);  // all but the present bit
        expect_fault(address + 3, FaultKind::not_present, level);
        guest.write_u64(guest.entry(address, level), 0);
    }
}

TEST_P(PageTable, addresses_that_are_not_canonical_are_refused_before_any_access) {
    const std::uint32_t sign_bit = levels() == 5 ? 56 : 47;
    for (const std::uint64_t address :
         {std::uint64_t{1} << sign_bit, ~(std::uint64_t{1} << sign_bit),
          (std::uint64_t{1} << (sign_bit + 1)), std::uint64_t{1} << 63,
          ~std::uint64_t{0} << (sign_bit + 1)}) {
        expect_fault(address, FaultKind::not_canonical, levels());
    }
    EXPECT_EQ(words.count, 0);
    // The first and the last canonical ones get as far as the top table.
    expect_fault((std::uint64_t{1} << sign_bit) - 1, FaultKind::not_present, levels());
    expect_fault(~std::uint64_t{0} << sign_bit, FaultKind::not_present, levels());
}

TEST_P(PageTable, a_table_outside_ram_is_a_fault_at_the_level_that_could_not_be_read) {
    const std::uint64_t address = kKernel;
    for (std::uint32_t level = levels(); level > 1; --level) {
        guest.map(address, kMiB);
        const std::uint64_t place = guest.entry(address, level);
        for (const std::uint64_t table : {64 * kMiB, 0xfee0'0000ul, (1ul << 52) - 4096}) {
            guest.write_u64(place, table | 1);
            expect_fault(address, FaultKind::outside_ram, level - 1);
        }
        guest.write_u64(place, 0);
    }
}

TEST_P(PageTable, page_size_bits_where_no_large_page_can_be_are_reserved) {
    guest.map(kKernel, kMiB);
    for (std::uint32_t level = levels(); level > 3; --level) {
        const std::uint64_t place = guest.entry(kKernel, level);
        const std::uint64_t good = guest.read_u64(place);
        guest.write_u64(place, good | 1u << 7);
        expect_fault(kKernel, FaultKind::reserved_bits, level);
        guest.write_u64(place, good);
    }
}

TEST_P(PageTable, large_pages_with_address_bits_inside_the_page_are_reserved) {
    for (const auto& [size, level] : {std::pair{PageSize::k2M, 2u}, std::pair{PageSize::k1G, 3u}}) {
        const std::uint64_t address = kKernel + level * 16 * kGiB - 64 * kGiB;
        guest.map(address, 0, size);
        const std::uint64_t place = guest.entry(address, level);
        const std::uint64_t good = guest.read_u64(place);
        for (std::uint32_t bit = 13; bit < (level == 2 ? 21 : 30); ++bit) {
            guest.write_u64(place, good | std::uint64_t{1} << bit);
            expect_fault(address, FaultKind::reserved_bits, level);
        }
        guest.write_u64(place, good | 1u << 12);  // PAT
        translator.forget(guest.format);
        EXPECT_EQ(translate(address + 0x1234), 0x1234u);
    }
}

TEST_P(PageTable, address_bits_that_the_machine_does_not_have_are_reserved) {
    guest.format.physical_bits = 40;
    guest.map(kKernel, kMiB);
    for (std::uint32_t level = levels(); level >= 1; --level) {
        const std::uint64_t place = guest.entry(kKernel, level);
        const std::uint64_t good = guest.read_u64(place);
        guest.write_u64(place, good | 1ull << 40);
        expect_fault(kKernel, FaultKind::reserved_bits, level);
        guest.write_u64(place, good | 1ull << 52 | 1ull << 63);  // available, and XD
        translator.forget(guest.format);
        EXPECT_EQ(translate(kKernel), kMiB);
        guest.write_u64(place, good);
    }
}

TEST_P(PageTable, the_encryption_bit_is_no_part_of_an_address) {
    guest.format = {.physical_bits = 43, .encryption_mask = 1ull << 47};
    guest.map(kKernel, kMiB);
    for (std::uint32_t level = 1; level <= levels(); ++level) {
        const std::uint64_t place = guest.entry(kKernel, level);
        guest.write_u64(place, guest.read_u64(place) | 1ull << 47);
    }
    translator.forget(guest.format);
    EXPECT_EQ(translate(kKernel + 5), kMiB + 5);
}

TEST_P(PageTable, tables_that_point_at_themselves_end) {
    for (std::uint64_t i = 0; i < 512; ++i)
        guest.write_u64(guest.root() + i * 8, guest.root() | 1);
    translator.forget(guest.format);
    EXPECT_EQ(translate(kKernel + 0x123), guest.root() + 0x123);
    EXPECT_LE(words.count, 5);
}

TEST_P(PageTable, garbage_tables_give_an_address_or_a_fault_and_stay_in_ram) {
    std::mt19937_64 random{42};
    std::vector<std::uint64_t> pages;
    for (int i = 0; i < 32; ++i)
        pages.push_back(guest.allocate_page());
    pages.push_back(guest.root());
    for (const std::uint64_t page : pages) {
        for (std::uint64_t at = page; at < page + kPageSize; at += 8) {
            const std::uint64_t kind = random() % 4;
            const std::uint64_t target =
                kind == 0 ? random() : pages[random() % pages.size()] | (random() & 0x1fff);
            guest.write_u64(at, target | (kind == 3 ? 0 : 1));
        }
    }
    int translated = 0;
    translator.forget(guest.format);
    for (int i = 0; i < 50'000; ++i) {
        const int before = words.count;
        const std::uint64_t address = canonical(random());
        const auto result = translate(address);
        ASSERT_LE(words.count - before, 5);
        if (result) {
            ++translated;
            ASSERT_LT(*result, 1ull << 52);
        } else {
            ASSERT_EQ(result.error().address, address);
            ASSERT_NE(result.error().kind, FaultKind::none);
            ASSERT_LE(result.error().level, levels());
        }
    }
    EXPECT_GT(translated, 0);
}

TEST_P(PageTable, neighbours_cost_one_access_and_forgetting_sees_the_new_tables) {
    guest.map(kKernel, kMiB);
    guest.map(kKernel + kPageSize, 2 * kMiB);
    translator.forget(guest.format);
    ASSERT_TRUE(translate(kKernel).has_value());
    const int before = words.count;
    EXPECT_EQ(translate(kKernel + kPageSize), 2 * kMiB);
    EXPECT_EQ(words.count, before + 1);

    guest.write_u64(guest.entry(kKernel, 2), 0);
    translator.forget(guest.format);
    EXPECT_FALSE(translate(kKernel).has_value());
}

TEST(AddressSpace, a_root_must_be_a_page_below_2_to_the_52) {
    EXPECT_TRUE(AddressSpace::from(0x1000, Paging::four_level).has_value());
    EXPECT_FALSE(AddressSpace::from(0, Paging::four_level).has_value());
    EXPECT_FALSE(AddressSpace::from(0x1001, Paging::four_level).has_value());
    EXPECT_FALSE(AddressSpace::from(1ull << 52, Paging::five_level).has_value());
    EXPECT_FALSE(AddressSpace::from(0x1000, Paging::physical).has_value());
    EXPECT_FALSE(AddressSpace::from(0x1000, static_cast<Paging>(3)).has_value());
}

TEST(PageTables, two_address_spaces_do_not_share_what_is_remembered) {
    SyntheticGuest guest{16 * kMiB};
    guest.map(kKernel, kMiB);
    const std::uint64_t other = guest.allocate_page();
    GuestWords words{guest};
    Translator translator;
    translator.forget({});
    EXPECT_EQ(translator.translate(words, {guest.root(), Paging::four_level}, kKernel), kMiB);
    EXPECT_FALSE(translator.translate(words, {other, Paging::four_level}, kKernel).has_value());
    EXPECT_FALSE(
        translator.translate(words, {guest.root(), Paging::five_level}, kKernel).has_value());
}

}  // namespace
}  // namespace sgm::hypervisor
