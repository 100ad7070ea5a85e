// SPDX-License-Identifier: MIT
// A small VM made of bytes, for the tests of every room: RAM, page tables, linked lists. It
// records what the core asks of it, so that a test can say what must never be asked.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include "hypervisor/core/page_table.hpp"
#include "hypervisor/core/port.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor::testing {

enum class PageSize : std::uint64_t { k4K = 4096, k2M = 2ull << 20, k1G = 1ull << 30 };

// RAM is kept by page: what was never written is unpopulated and reads as zeros.
class SyntheticGuest final : public Domain {
  public:
    // RAM from 0 up.
    explicit SyntheticGuest(std::uint64_t ram_size, wire::Paging paging = wire::Paging::four_level);

    // --- making the guest
    void add_ram(std::uint64_t start, std::uint64_t size);
    void write(std::uint64_t physical, Bytes bytes);
    void write_u64(std::uint64_t physical, std::uint64_t value);
    [[nodiscard]] std::uint64_t read_u64(std::uint64_t physical) const;
    // Pages of zeros that count as populated.
    void populate(std::uint64_t physical, std::uint64_t size);
    // An unused page at the end of the first RAM range, growing downwards.
    std::uint64_t allocate_page();

    // One page-table entry more for `address`, tables made as needed. Both are multiples of size.
    void map(std::uint64_t address, std::uint64_t physical, PageSize size = PageSize::k4K);
    // `size` bytes (rounded up to pages) of new memory at `address`.
    void map_new(std::uint64_t address, std::uint64_t size);
    // The physical address of the entry of `address` at `level`; its tables exist.
    [[nodiscard]] std::uint64_t entry(std::uint64_t address, std::uint32_t level) const;
    void write_virtual(std::uint64_t address, Bytes bytes);
    void write_virtual_u64(std::uint64_t address, std::uint64_t value);
    [[nodiscard]] std::uint64_t physical_of(std::uint64_t address) const;

    // Links the nodes in order: u64 at link + next_offset = the next link; the last to `end`.
    void link(const std::vector<std::uint64_t>& links, std::uint64_t end,
              std::int64_t next_offset = 0);

    [[nodiscard]] std::uint64_t root() const { return root_; }
    [[nodiscard]] wire::Paging paging() const { return paging_; }

    // --- what the tests turn
    wire::Uuid id{0x11, 0x22};
    std::uint64_t current_epoch = 7;
    wire::Readability current_readability = wire::Readability::readable;
    wire::Protection current_protection = wire::Protection::unprotected;
    AddressFormat format{};
    std::vector<wire::Registers> vcpus{wire::Registers{}};
    bool can_hold = true;
    bool hold_lasts = true;
    std::function<void()> before_read = [] {};  // a guest that changes under the reader

    // --- what they look at
    std::uint64_t reads = 0;
    std::uint64_t reads_outside_ram = 0;
    std::uint64_t unpopulated_reads = 0;
    int holds = 0;
    int releases = 0;
    [[nodiscard]] bool is_held() const { return holds > releases; }

    // --- Domain
    const wire::Uuid& uuid() const override { return id; }
    std::uint64_t epoch() const override { return current_epoch; }
    std::uint32_t vcpu_count() const override;
    wire::Readability readability() const override { return current_readability; }
    wire::Protection protection() const override { return current_protection; }
    AddressFormat address_format() const override { return format; }
    std::span<const wire::RamRange> ram_ranges() const override { return ranges_; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::optional<wire::Registers> registers(std::uint32_t vcpu) override;
    bool hold() override;
    bool release() override;

  private:
    [[nodiscard]] bool is_ram(std::uint64_t physical, std::uint64_t size) const;
    void copy_out(std::uint64_t physical, MutableBytes out) const;
    std::uint64_t table_entry(std::uint64_t address, std::uint32_t level);

    wire::Paging paging_;
    std::vector<wire::RamRange> ranges_;
    std::map<std::uint64_t, std::vector<std::uint8_t>> pages_;  // by number; empty: zeros
    std::uint64_t next_page_;
    std::uint64_t root_ = 0;
};

// Time stands still unless a test moves it; randomness is a counter.
class SyntheticPort final : public Port {
  public:
    explicit SyntheticPort(std::vector<SyntheticGuest*> guests = {}) : guests_{std::move(guests)} {}
    void add(SyntheticGuest& guest) { guests_.push_back(&guest); }
    void remove(const SyntheticGuest& guest) { std::erase(guests_, &guest); }

    std::uint64_t clock_ns = 1'000'000'000;
    std::uint64_t clock_step_ns = 0;  // by which every look at the clock moves it
    std::uint64_t longest_batch_ns = ~std::uint64_t{0};
    bool random_works = true;

    std::string_view name() const override { return "synthetic"; }
    std::uint64_t now_ns() override { return clock_ns += clock_step_ns; }
    std::uint64_t max_batch_ns() const override { return longest_batch_ns; }
    bool random(MutableBytes out) override;
    Domain* find(const wire::Uuid& uuid) override;

  private:
    std::vector<SyntheticGuest*> guests_;
    std::uint64_t counter_ = 0;
};

// Builds a batch: every operation is bytes, so that a test can also say what is malformed.
class BatchBuilder final {
  public:
    explicit BatchBuilder(std::uint32_t flags = 0);

    BatchBuilder& add(wire::Op op, std::initializer_list<Bytes> arguments);
    BatchBuilder& describe() { return add(wire::Op::describe, {}); }
    BatchBuilder& registers(std::uint32_t vcpu);
    BatchBuilder& read(std::uint64_t root, wire::Paging paging, std::uint64_t address,
                       std::uint32_t size);
    BatchBuilder& search(const wire::SearchCall& call);
    // field_count is taken from `fields`.
    BatchBuilder& walk(wire::WalkCall call, const std::vector<wire::FieldPath>& fields);

    [[nodiscard]] const std::vector<std::uint8_t>& bytes() const { return bytes_; }

  private:
    std::vector<std::uint8_t> bytes_;
};

[[nodiscard]] wire::SearchCall search_for(std::string_view pattern, std::uint64_t start,
                                          std::uint64_t end, std::uint32_t alignment = 1,
                                          std::uint32_t max_matches = wire::kMaxSearchMatches);

// One operation's answer, taken apart.
struct OpReply {
    wire::Op op;
    wire::OpStatus status;
    std::vector<std::uint8_t> result;

    template <WireStruct T>
    [[nodiscard]] T as() const {
        return Reader{result}.take<T>().value_or(T{});
    }
    // What follows the leading T.
    template <WireStruct T>
    [[nodiscard]] Bytes after() const {
        return Bytes{result}.subspan(std::min(sizeof(T), result.size()));
    }
};

struct BatchReply {
    wire::BatchAnswer header{};
    std::vector<OpReply> ops;
};

// nullopt when the answer is not what its own sizes say.
[[nodiscard]] std::optional<BatchReply> take_apart(Bytes answer);

}  // namespace sgm::hypervisor::testing
