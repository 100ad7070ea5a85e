// SPDX-License-Identifier: MIT
// x86-64 address translation in software: 4- and 5-level paging, pages of 4 KiB, 2 MiB and 1 GiB
// (Intel SDM volume 3A, section 4.5). The guest controls every table entry.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>

#include "hypervisor/core/port.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

inline constexpr std::uint64_t kPageSize = 4096;
inline constexpr std::uint64_t kLargePageSize = 2ull << 20;

// Reads one aligned u64 of guest-physical memory; nullopt when it is not in the domain's RAM.
class PhysicalWords {
  public:
    [[nodiscard]] virtual std::optional<std::uint64_t> word(std::uint64_t physical) = 0;

  protected:
    PhysicalWords() = default;
    ~PhysicalWords() = default;
    PhysicalWords(const PhysicalWords&) = default;
    PhysicalWords& operator=(const PhysicalWords&) = default;
};

// The top page table and how many levels it has. `root` is a multiple of kPageSize below 2^52.
struct AddressSpace {
    std::uint64_t root;
    wire::Paging paging;  // never physical

    [[nodiscard]] static std::optional<AddressSpace> from(std::uint64_t root, wire::Paging paging);
    [[nodiscard]] bool operator==(const AddressSpace&) const = default;
};

// Translates, and remembers the last page and where the last page tables lie, so that neighbours
// cost no access or one instead of four or five. What it remembers is as old as the last forget():
// a guest that changes its tables meanwhile gets an answer that was true a moment ago, from its own
// RAM.
//
// What is not checked: access rights and XD (the reader is not the guest), and dirty or accessed
// bits. Present, canonical and reserved bits are, exactly as the CPU would:
//   not_canonical  level is the top level; no entry was looked at
//   not_present    level of the entry
//   reserved_bits  level of the entry
//   outside_ram    level of the entry that could not be read because its table is not RAM.
//                  The page itself (level 0) is left to who reads it.
class Translator final {
  public:
    // Before each batch, and whenever the domain changes.
    void forget(AddressFormat format);

    // The guest-physical address that `address` means.
    [[nodiscard]] std::expected<std::uint64_t, wire::Fault> translate(PhysicalWords& words,
                                                                      const AddressSpace& space,
                                                                      std::uint64_t address) {
        // A region that is known is canonical.
        const Region& region = region_of(address);
        if (region.is_page && region.number == address / kRegionSize && region.space == space) {
            return region.physical + address % kRegionSize;
        }
        return translate_by_tables(words, space, address);
    }

    // Where the 2 MiB begin that `address` lies in, if translate() has found them to be a large
    // page or part of one, and still remembers.
    [[nodiscard]] std::optional<std::uint64_t> large_page(const AddressSpace& space,
                                                          std::uint64_t address) {
        const Region& region = region_of(address);
        const bool known = region.number == address / kRegionSize && region.space == space;
        return known && region.is_page ? std::optional{region.physical} : std::nullopt;
    }

  private:
    // What the tables say about 2 MiB of addresses: a large page, or the page table of 4 KiB pages.
    struct Region {
        AddressSpace space;
        std::uint64_t number;    // address / 2 MiB; kNoRegion when the slot is free
        std::uint64_t physical;  // of the 2 MiB, or of the page table
        bool is_page;
    };
    static constexpr std::uint64_t kNoRegion = ~std::uint64_t{0};
    struct Page {
        AddressSpace space;
        std::uint64_t number;    // address / 4 KiB; kNoRegion: none
        std::uint64_t physical;  // of the 4 KiB, also within a large page
    };
    static constexpr std::size_t kSlots = 64;
    static constexpr std::uint64_t kRegionSize = kLargePageSize;

    [[nodiscard]] Region& region_of(std::uint64_t address) {
        const std::uint64_t number = address / kRegionSize;
        return regions_[(number ^ (number / kSlots)) % kSlots];
    }
    [[nodiscard]] std::expected<std::uint64_t, wire::Fault> translate_by_tables(
        PhysicalWords& words, const AddressSpace& space, std::uint64_t address);
    [[nodiscard]] std::expected<Region, wire::Fault> find_region(PhysicalWords& words,
                                                                 const AddressSpace& space,
                                                                 std::uint64_t address) const;
    [[nodiscard]] std::expected<std::uint64_t, wire::Fault> find_page(PhysicalWords& words,
                                                                      const AddressSpace& space,
                                                                      std::uint64_t address);
    [[nodiscard]] bool has_reserved_bits(std::uint64_t entry, std::uint32_t level) const;

    AddressFormat format_{};
    std::array<Region, kSlots> regions_{};
    Page last_{};
};

}  // namespace sgm::hypervisor
