// SPDX-License-Identifier: MIT
#include "hypervisor/core/page_table.hpp"

namespace sgm::hypervisor {
namespace {

using wire::Fault;
using wire::FaultKind;

// Bits of a page-table entry. SDM volume 3A, tables 4-14 to 4-20.
constexpr std::uint64_t kPresent = 1ull << 0;
constexpr std::uint64_t kPageSizeBit = 1ull << 7;  // PS at levels 2 and 3; PAT at level 1
constexpr std::uint64_t kAddressMask = 0x000f'ffff'ffff'f000;

constexpr std::uint32_t kPageLevel = 1;
constexpr std::uint32_t kDirectoryLevel = 2;
constexpr std::uint32_t kGigabyteLevel = 3;

constexpr std::uint32_t top_level(wire::Paging paging) {
    return paging == wire::Paging::five_level ? 5 : 4;
}

// Bits of the address below those that the table at `level` indexes: 12, 21, 30, 39, 48.
constexpr std::uint32_t shift_of(std::uint32_t level) {
    return 12 + 9 * (level - 1);
}

bool is_canonical(std::uint64_t address, std::uint32_t levels) {
    const std::uint32_t sign_bit = shift_of(levels) + 8;
    const std::uint64_t upper = address >> sign_bit;
    return upper == 0 || upper == (~std::uint64_t{0} >> sign_bit);
}

std::uint64_t entry_address(std::uint64_t table, std::uint64_t address, std::uint32_t level) {
    return table + ((address >> shift_of(level)) & 511) * 8;
}

std::unexpected<Fault> fault(std::uint64_t address, FaultKind kind, std::uint32_t level) {
    return std::unexpected{Fault{.address = address, .kind = kind, .level = level}};
}

}  // namespace

std::optional<AddressSpace> AddressSpace::from(std::uint64_t root, wire::Paging paging) {
    if (paging != wire::Paging::four_level && paging != wire::Paging::five_level) {
        return std::nullopt;
    }
    if (root == 0 || (root & ~kAddressMask) != 0) return std::nullopt;
    return AddressSpace{root, paging};
}

void Translator::forget(AddressFormat format) {
    format_ = format;
    for (Region& region : regions_)
        region.number = kNoRegion;
    last_.number = kNoRegion;
}

bool Translator::has_reserved_bits(std::uint64_t entry, std::uint32_t level) const {
    // Address bits that the machine does not have.
    if (format_.physical_bits < 52 && ((entry & kAddressMask) >> format_.physical_bits) != 0) {
        return true;
    }
    if (level == kPageLevel || (entry & kPageSizeBit) == 0) return false;
    // A large page: at levels 4 and 5 there is none; bit 12 is PAT, the rest up to its size is 0.
    if (level > kGigabyteLevel) return true;
    const std::uint64_t below_page = (std::uint64_t{1} << shift_of(level)) - 1;
    return (entry & below_page & ~std::uint64_t{0x1fff}) != 0;
}

std::expected<Translator::Region, Fault> Translator::find_region(PhysicalWords& words,
                                                                 const AddressSpace& space,
                                                                 std::uint64_t address) const {
    std::uint64_t table = space.root;
    for (std::uint32_t level = top_level(space.paging); level >= kDirectoryLevel; --level) {
        const auto raw = words.word(entry_address(table, address, level));
        if (!raw) return fault(address, FaultKind::outside_ram, level);
        const std::uint64_t entry = *raw & ~format_.encryption_mask;
        if ((entry & kPresent) == 0) return fault(address, FaultKind::not_present, level);
        if (has_reserved_bits(entry, level)) return fault(address, FaultKind::reserved_bits, level);
        table = entry & kAddressMask;
        if ((entry & kPageSizeBit) != 0) {
            const std::uint64_t page_size = std::uint64_t{1} << shift_of(level);
            const std::uint64_t region = address & (page_size - 1) & ~(kRegionSize - 1);
            return Region{.space = space,
                          .number = address / kRegionSize,
                          .physical = (table & ~(page_size - 1)) + region,
                          .is_page = true};
        }
    }
    return Region{
        .space = space, .number = address / kRegionSize, .physical = table, .is_page = false};
}

// The guest-physical address of the 4 KiB that `address` lies in.
std::expected<std::uint64_t, Fault> Translator::find_page(PhysicalWords& words,
                                                          const AddressSpace& space,
                                                          std::uint64_t address) {
    const std::uint32_t levels = top_level(space.paging);
    if (!is_canonical(address, levels)) return fault(address, FaultKind::not_canonical, levels);

    const std::uint64_t number = address / kRegionSize;
    Region& region = region_of(address);
    if (region.number != number || region.space != space) {
        const auto found = find_region(words, space, address);
        if (!found) return std::unexpected{found.error()};
        region = *found;
    }
    if (region.is_page) return region.physical + address % kRegionSize / kPageSize * kPageSize;

    const auto raw = words.word(entry_address(region.physical, address, kPageLevel));
    if (!raw) return fault(address, FaultKind::outside_ram, kPageLevel);
    const std::uint64_t entry = *raw & ~format_.encryption_mask;
    if ((entry & kPresent) == 0) return fault(address, FaultKind::not_present, kPageLevel);
    if (has_reserved_bits(entry, kPageLevel)) {
        return fault(address, FaultKind::reserved_bits, kPageLevel);
    }
    return entry & kAddressMask;
}

std::expected<std::uint64_t, Fault> Translator::translate_by_tables(PhysicalWords& words,
                                                                    const AddressSpace& space,
                                                                    std::uint64_t address) {
    const std::uint64_t number = address / kPageSize;
    if (last_.number != number || last_.space != space) {
        const auto page = find_page(words, space, address);
        if (!page) return page;
        last_ = {.space = space, .number = number, .physical = *page};
    }
    return last_.physical + address % kPageSize;
}

}  // namespace sgm::hypervisor
