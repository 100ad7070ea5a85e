// SPDX-License-Identifier: MIT
// Guests that do their worst to whoever walks their lists and page tables, made from a seed; and
// one whose memory another thread changes while it is read.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <random>
#include <vector>

#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::hypervisor::testing {

enum class Malice {
    cyclic_list,     // never comes back to its head
    unmapped_list,   // leads through pages that are not mapped, and not canonical addresses
    mmio_list,       // leads through pages that are mapped to what is not RAM
    self_tables,     // page tables that point at themselves and at those above
    mmio_tables,     // page tables that are not RAM
    tables_at_end,   // a page table of which RAM ends in the middle
    huge_over_end,   // pages of 2 MiB and 1 GiB that begin in RAM and end beyond it
    reserved_bits,   // entries with bits that no CPU accepts
    garbage_tables,  // any words in the page tables
    garbage_nodes,   // any words in the nodes
};
inline constexpr std::array kAllMalice{
    Malice::cyclic_list,    Malice::unmapped_list, Malice::mmio_list,     Malice::self_tables,
    Malice::mmio_tables,    Malice::tables_at_end, Malice::huge_over_end, Malice::reserved_bits,
    Malice::garbage_tables, Malice::garbage_nodes};

class HostileGuest final {
  public:
    static constexpr std::uint64_t kHeap = 0xffff'8880'0000'0000;
    static constexpr std::uint64_t kNodeSize = 256;
    static constexpr std::uint64_t kNodeCount = 512;
    static constexpr std::uint64_t kRamSize = 8ull << 20;
    // The second stretch of RAM; its last page is half a page.
    static constexpr std::uint64_t kHighRam = 1ull << 32;
    static constexpr std::uint64_t kHighRamSize = 5 * kPageSize + kPageSize / 2;

    HostileGuest(Malice malice, wire::Paging paging, std::uint64_t seed);

    SyntheticGuest vm;
    // Of a list whose links lie at the beginning of its nodes.
    std::uint64_t first() const { return node(0); }
    [[nodiscard]] static std::uint64_t node(std::uint64_t i) { return kHeap + i * kNodeSize; }

  private:
    void spoil_list(Malice malice);
    void spoil_tables(Malice malice);
    [[nodiscard]] std::uint64_t any_node() { return node(random_() % kNodeCount); }

    std::mt19937_64 random_;
};

// The memory of a guest as it is now. change() may be called by one thread while another reads.
class ChangingGuest final : public Domain {
  public:
    explicit ChangingGuest(SyntheticGuest& from);

    // Puts something else into one word of a page that was written once.
    void change(std::mt19937_64& random);

    std::uint64_t reads = 0;
    std::uint64_t reads_outside_ram = 0;

    const wire::Uuid& uuid() const override { return id_; }
    std::uint64_t epoch() const override { return 1; }
    std::uint32_t vcpu_count() const override { return 1; }
    wire::Readability readability() const override { return wire::Readability::readable; }
    wire::Protection protection() const override { return wire::Protection::unprotected; }
    AddressFormat address_format() const override { return {}; }
    std::span<const wire::RamRange> ram_ranges() const override { return ranges_; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override {
        return {start, end - start};
    }
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::optional<wire::Registers> registers(std::uint32_t) override { return std::nullopt; }
    bool hold() override { return false; }
    bool release() override { return false; }

  private:
    using Page = std::array<std::atomic<std::uint64_t>, kPageSize / 8>;
    wire::Uuid id_;
    std::vector<wire::RamRange> ranges_;
    std::map<std::uint64_t, Page> pages_;  // by number; which there are never changes
    std::vector<Page*> changeable_;
};

}  // namespace sgm::hypervisor::testing
