// SPDX-License-Identifier: MIT
#include "hypervisor/core/testing/hostile_guest.hpp"

#include <algorithm>

namespace sgm::hypervisor::testing {
namespace {

constexpr std::uint64_t kMmio = 0xfee0'0000;
constexpr std::uint64_t kEntry = 3;          // present, writable
constexpr std::uint64_t kLargeEntry = 0x83;  // and of a large page
constexpr std::uint64_t kHeapSize = HostileGuest::kNodeSize * HostileGuest::kNodeCount;

}  // namespace

HostileGuest::HostileGuest(Malice malice, wire::Paging paging, std::uint64_t seed)
    : vm{kRamSize, paging}, random_{seed} {
    vm.add_ram(kHighRam, kHighRamSize);
    vm.map_new(kHeap, kHeapSize);
    std::vector<std::uint64_t> links;
    for (std::uint64_t i = 0; i < kNodeCount; ++i)
        links.push_back(node(i));
    std::shuffle(links.begin() + 1, links.end(), random_);
    vm.link(links, links.front());
    for (std::uint64_t i = 0; i < kNodeCount; ++i)
        vm.write_virtual_u64(node(i) + 8, any_node());
    spoil_list(malice);
    spoil_tables(malice);
}

void HostileGuest::spoil_list(Malice malice) {
    for (std::uint64_t i = 0; i < 8; ++i) {
        switch (malice) {
            case Malice::cyclic_list: {
                // Any node leads to any other but the head: wherever the walk is, it turns around.
                const std::uint64_t to = node(1 + random_() % (kNodeCount - 1));
                for (std::uint64_t from = 0; from < kNodeCount; ++from) {
                    if (vm.read_u64(vm.physical_of(node(from))) == first())
                        vm.write_virtual_u64(node(from), to);
                }
                vm.write_virtual_u64(any_node(), node(1 + random_() % (kNodeCount - 1)));
                break;
            }
            case Malice::unmapped_list:
                vm.write_virtual_u64(any_node(), random_() % 2 == 0
                                                     ? kHeap + kHeapSize + i * kPageSize
                                                     : 1ull << (48 + i));
                break;
            case Malice::garbage_nodes:
                vm.write_virtual_u64(any_node() + random_() % 2 * 8, random_());
                break;
            default: return;
        }
    }
}

void HostileGuest::spoil_tables(Malice malice) {
    const std::uint32_t top = vm.paging() == wire::Paging::five_level ? 5 : 4;
    // Reached before the first change: afterwards nothing need be where it was.
    std::vector<std::uint64_t> entries;
    for (std::uint32_t level = 1; level <= top; ++level)
        entries.push_back(vm.entry(any_node(), level));
    const std::uint64_t low = vm.entry(any_node(), 1);
    const std::uint64_t any_entry = entries[random_() % entries.size()];
    switch (malice) {
        case Malice::mmio_list: vm.write_u64(low, kMmio | kEntry); break;
        case Malice::self_tables: {
            const std::uint64_t table = entries[random_() % entries.size()] & ~(kPageSize - 1);
            vm.write_u64(any_entry, table | kEntry);
            break;
        }
        case Malice::mmio_tables:
            vm.write_u64(entries[1 + random_() % (top - 1)],
                         (kMmio + random_() % 64 * kPageSize) | kEntry);
            break;
        case Malice::tables_at_end:
            vm.write_u64(entries[1 + random_() % (top - 1)],
                         (kHighRam + kHighRamSize - kPageSize / 2) | kEntry);
            break;
        case Malice::huge_over_end:
            vm.write_u64(random_() % 2 == 0 ? entries[1] : entries[2],
                         random_() % 2 == 0 ? kHighRam | kLargeEntry : kLargeEntry);
            break;
        case Malice::reserved_bits: {
            const std::uint64_t bits =
                random_() % 2 == 0 ? 0x1f'e080 : 1ull << (40 + random_() % 12);
            vm.format.physical_bits = 40;
            vm.write_u64(any_entry, vm.read_u64(any_entry) | bits);
            break;
        }
        case Malice::garbage_tables:
            for (int i = 0; i < 64; ++i) {
                const std::uint64_t table = entries[random_() % entries.size()] & ~(kPageSize - 1);
                vm.write_u64(table + random_() % 512 * 8, random_() >> random_() % 64);
            }
            break;
        default: break;
    }
}

ChangingGuest::ChangingGuest(SyntheticGuest& from)
    : id_{from.id}, ranges_{from.ram_ranges().begin(), from.ram_ranges().end()} {
    for (const wire::RamRange& range : ranges_) {
        for (std::uint64_t at = range.start; at < range.start + range.size;) {
            const wire::RamRange stretch = from.populated(at, range.start + range.size);
            if (stretch.size == 0) break;
            for (at = stretch.start; at < stretch.start + stretch.size; at += kPageSize) {
                Page& page = pages_[at / kPageSize];
                for (std::uint64_t word = 0; word < page.size(); ++word)
                    page[word] = from.read_u64(at / kPageSize * kPageSize + word * 8);
                changeable_.push_back(&page);
            }
        }
    }
}

void ChangingGuest::change(std::mt19937_64& random) {
    Page& to = *changeable_[random() % changeable_.size()];
    const Page& from = *changeable_[random() % changeable_.size()];
    // Mostly what some other word holds: entries stay entries, pointers stay pointers.
    const std::uint64_t value = from[random() % from.size()].load(std::memory_order_relaxed);
    to[random() % to.size()].store(random() % 4 == 0 ? random() : value, std::memory_order_relaxed);
}

bool ChangingGuest::read(std::uint64_t physical, MutableBytes out) {
    ++reads;
    const bool is_ram = std::ranges::any_of(ranges_, [&](const wire::RamRange& range) {
        return physical >= range.start && physical - range.start < range.size &&
               out.size() <= range.size - (physical - range.start);
    });
    if (!is_ram) {
        ++reads_outside_ram;
        return false;
    }
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::uint64_t at = physical + i;
        if (i == 0 || at % 8 == 0) {
            const auto page = pages_.find(at / kPageSize);
            word = page == pages_.end()
                       ? 0
                       : page->second[at % kPageSize / 8].load(std::memory_order_relaxed);
        }
        out[i] = static_cast<std::uint8_t>(word >> (at % 8 * 8));
    }
    return true;
}

}  // namespace sgm::hypervisor::testing
