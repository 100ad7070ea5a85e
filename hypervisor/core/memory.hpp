// SPDX-License-Identifier: MIT
// One domain's memory during one batch: every read that the core makes goes through here, and
// here is the check that it lies in the domain's RAM.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "hypervisor/core/budget.hpp"
#include "hypervisor/core/page_table.hpp"
#include "hypervisor/core/port.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// How far a read got: fault.kind is none exactly when all bytes were read.
struct ReadOutcome {
    std::size_t size;
    wire::Fault fault;

    [[nodiscard]] bool complete() const { return fault.kind == wire::FaultKind::none; }
};

// Whether a page may be touched: `populated` as in DirectRange.
inline bool is_populated(const std::uint64_t* populated, std::uint64_t page) {
    return (populated[page / 64] >> (page % 64) & 1) != 0;
}

// Where the guest's pages lie in our own memory: for one address space, and for one batch, like the
// translations that they come from.
class Views final {
  public:
    void forget() {
        for (View& view : views_)
            view.number = kNone;
        for (LargeView& large : large_)
            large.number = kNone;
    }
    // What follows is about this address space.
    void enter(const AddressSpace& space) {
        if (!(space == space_)) forget();
        space_ = space;
    }
    [[nodiscard]] const AddressSpace& space() const { return space_; }

    // The byte at `address`, good up to its page's end; nullptr when its page is not known.
    [[nodiscard]] const std::uint8_t* find(std::uint64_t address) const {
        const std::uint64_t region = address / kLargePageSize;
        const LargeView& large = large_[region % kSlots];
        const std::uint64_t offset = address % kLargePageSize;
        if (large.number == region &&
            is_populated(large.populated, large.first_page + offset / kPageSize)) {
            return large.memory + offset;
        }
        const std::uint64_t number = address / kPageSize;
        const View& view = views_[number % kSlots];
        return view.number == number ? view.page + address % kPageSize : nullptr;
    }
    void remember(std::uint64_t address, const std::uint8_t* page) {
        const std::uint64_t number = address / kPageSize;
        views_[number % kSlots] = {number, page};
    }

    // `address` lies in a large page that begins at `physical`, all of it in `direct`.
    void remember_large(std::uint64_t address, std::uint64_t physical, const DirectRange& direct) {
        const std::uint64_t number = address / kLargePageSize;
        const std::uint64_t offset = physical - direct.range.start;
        large_[number % kSlots] = {number, direct.memory + offset, direct.populated,
                                   direct.first_page + offset / kPageSize};
    }

  private:
    struct LargeView {
        std::uint64_t number;            // address / 2 MiB
        const std::uint8_t* memory;      // of the large page
        const std::uint64_t* populated;  // as in DirectRange
        std::uint64_t first_page;
    };
    struct View {
        std::uint64_t number;  // address / 4 KiB
        const std::uint8_t* page;
    };
    static constexpr std::uint64_t kNone = ~std::uint64_t{0};
    static constexpr std::size_t kSlots = 64;

    AddressSpace space_{};
    std::array<View, kSlots> views_{};
    std::array<LargeView, kSlots> large_{};
};

class Memory final : public PhysicalWords {
  public:
    // All four outlive this.
    Memory(Domain& domain, Translator& translator, Views& views, Budget& budget)
        : domain_{domain},
          translator_{translator},
          views_{views},
          budget_{budget},
          direct_ranges_{domain.direct_ranges()} {}

    [[nodiscard]] ReadOutcome read_physical(std::uint64_t address, MutableBytes out);
    [[nodiscard]] ReadOutcome read_virtual(const AddressSpace& space, std::uint64_t address,
                                           MutableBytes out);

    // In which address space read_field() reads from now on.
    void enter(const AddressSpace& space) { views_.enter(space); }
    // As read_virtual(), for who does not ask why it failed: whether all of `out` was read.
    [[nodiscard]] bool read_field(std::uint64_t address, MutableBytes out) {
        const std::uint8_t* const from = views_.find(address);
        if (from == nullptr || out.size() > kPageSize - address % kPageSize) {
            return read_new_page(address, out);
        }
        budget_.spend_access();
        copy_live(from, out);
        return true;
    }

    // `size` bytes at `address` in our own memory, for read_view() until the batch ends; nullptr:
    // they lie in two pages, or in one that cannot be read in place.
    [[nodiscard]] const std::uint8_t* view(std::uint64_t address, std::size_t size) {
        if (size > kPageSize - address % kPageSize) return nullptr;
        const std::uint8_t* const from = views_.find(address);
        return from != nullptr ? from : view_new_page(address);
    }
    void read_view(const std::uint8_t* from, MutableBytes out) {
        budget_.spend_access();
        copy_live(from, out);
    }

    // Tells the processor that read_field() will read there soon.
    void prefetch_field(std::uint64_t address) {
        const std::uint8_t* from = views_.find(address);
        if (from == nullptr) from = view_new_page(address);
        if (from != nullptr) __builtin_prefetch(from);
    }

    [[nodiscard]] std::optional<std::uint64_t> word(std::uint64_t physical) override;

    [[nodiscard]] Domain& domain() { return domain_; }
    [[nodiscard]] Budget& budget() { return budget_; }

  private:
    // How many of `size` bytes from `physical` on lie in one RAM range.
    [[nodiscard]] std::size_t in_ram(std::uint64_t physical, std::size_t size);
    // Bytes read: all, or those before the end of RAM. `out` lies in one page.
    [[nodiscard]] std::size_t read_piece(std::uint64_t physical, MutableBytes out);
    // The page that `physical` lies in, in our own memory; nullptr when it must be read().
    [[nodiscard]] const std::uint8_t* direct_page(std::uint64_t physical);
    // What views_ does not know; from now on it does, if that can be. nullptr: it cannot.
    [[nodiscard]] const std::uint8_t* view_new_page(std::uint64_t address);
    // read_field() of such a page.
    [[nodiscard]] bool read_new_page(std::uint64_t address, MutableBytes out);
    // Copies memory that the guest may just be writing: an aligned word is never seen half.
    static void copy_live(const std::uint8_t* from, MutableBytes out);

    Domain& domain_;
    Translator& translator_;
    Views& views_;
    Budget& budget_;
    std::span<const DirectRange> direct_ranges_;
    DirectRange last_direct_{};
    wire::RamRange last_range_{};
};

// What the fields of lists are: words, and texts of 16 bytes.
inline void Memory::copy_live(const std::uint8_t* from, MutableBytes out) {
    const auto word = [&](std::size_t at) {
        const std::uint64_t value =
            __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from + at), __ATOMIC_RELAXED);
        __builtin_memcpy(out.data() + at, &value, sizeof value);
    };
    const bool aligned = reinterpret_cast<std::uintptr_t>(from) % sizeof(std::uint64_t) == 0;
    if (out.size() == 4) {
        __builtin_memcpy(out.data(), from, 4);
    } else if (out.size() == 8 && aligned) {
        word(0);
    } else if (out.size() == 16 && aligned) {
        word(0);
        word(8);
    } else {
        std::memcpy(out.data(), from, out.size());
    }
}

}  // namespace sgm::hypervisor
