// SPDX-License-Identifier: MIT
// Guest memory as the IDS sees it: typed operations over a Transport. Everything that comes back
// is the word of a guest that may be hostile; an answer that does not parse is an error, never a
// guess.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "guest/transport.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::guest {

enum class Error {
    refused,           // transport: the session is lost
    unreachable,       // transport: no answer
    too_large,         // transport, or a call that does not fit a request
    malformed_answer,  // the answer is not one to what was asked
    malformed_call,    // the hypervisor found our call malformed
    unsupported,       // the hypervisor cannot do this
    unreadable,        // the domain's memory is encrypted or gone
    fault,             // an address did not translate: see Failure::fault
    cycle,             // a list runs in a circle that does not contain its head
    too_long,          // a list or table is longer than its bound
    implausible,       // what was read cannot be what it should be
    kernel_changed,    // the kernel that was attached to is no longer there
};
[[nodiscard]] std::string_view text(Error error);

struct Failure {
    Error error;
    wire::Fault fault{};  // with Error::fault
};
// "an address could not be read: 0xffff888000001000 is not present at level 2"
[[nodiscard]] std::string describe(const Failure& failure);

// In which page tables an address lies.
struct AddressSpace {
    std::uint64_t root = 0;  // guest-physical address of the top page table; 0: physical
    wire::Paging paging = wire::Paging::physical;
};
inline constexpr AddressSpace kPhysical{};

struct Description {
    wire::DescribeResult result;
    std::vector<wire::RamRange> ranges;  // ascending, not overlapping, at most kMaxRamRanges
};

// One of many reads in a batch.
struct ReadItem {
    AddressSpace space;
    std::uint64_t address;
    MutableBytes out;
    std::size_t got = 0;  // bytes of `out` that were read, from its start
    wire::Fault fault{};  // why `got` is less than out.size()
};

struct SearchPlan {
    Bytes pattern;            // 1..kMaxPatternSize bytes
    std::uint32_t alignment;  // power of two, 1..4096
    std::uint64_t start;      // guest-physical
    std::uint64_t end;
    std::size_t max_matches;
};
struct Matches {
    std::vector<std::uint64_t> addresses;  // ascending, at most max_matches
    bool complete;                         // false: there may be more
};

// What the vCPUs do while a batch is read.
enum class Consistency { live, held };

struct WalkPlan {
    AddressSpace space;
    std::uint64_t first;
    std::uint64_t head;  // for ListShape::circular; may equal first
    std::int32_t link_offset;
    std::int32_t next_offset;
    wire::ListShape shape;
    std::span<const wire::FieldPath> fields;
    std::uint32_t max_nodes;  // of the whole list; more is Walk::stop == bound
    Consistency consistency;
};
inline constexpr std::size_t kMaxWalkBytes = 8u << 20;
// Valid until the next exchange; not to be copied, since `rows` may lie in `kept`.
struct Walk {
    Walk() = default;
    Walk(Walk&&) = default;
    Walk& operator=(Walk&&) = default;

    wire::WalkStop stop = wire::WalkStop::end;
    wire::Fault fault{};
    std::uint32_t row_size = 0;
    std::uint32_t node_count = 0;
    Bytes rows;  // at most kMaxWalkBytes, each a WalkRow and the fields in the plan's order
    std::vector<std::uint8_t> kept;  // of a list that took several answers: where they are

    // index < node_count
    [[nodiscard]] Bytes row(std::uint32_t index) const {
        return rows.subspan(std::size_t{index} * row_size, row_size);
    }
};

class Memory final {
  public:
    explicit Memory(Transport& transport) : transport_{transport} {}

    [[nodiscard]] std::expected<Description, Failure> describe();
    [[nodiscard]] std::expected<wire::Registers, Failure> registers(std::uint32_t vcpu);

    // Reads every item as far as its memory goes, in as few exchanges as the bounds allow: reads
    // beyond kMaxReadSize are split, small ones share one exchange. An error means that the items
    // were not read at all or not all of them; a fault is told in its item.
    [[nodiscard]] std::expected<void, Failure> read_each(std::span<ReadItem> items);

    // All of `out`, or an error.
    [[nodiscard]] std::expected<void, Failure> read(AddressSpace space, std::uint64_t address,
                                                    MutableBytes out);
    template <WireStruct T>
    [[nodiscard]] std::expected<T, Failure> read_value(AddressSpace space, std::uint64_t address) {
        T value{};
        if (auto done = read(space, address, mutable_bytes_of(value)); !done)
            return std::unexpected{done.error()};
        return value;
    }

    [[nodiscard]] std::expected<Matches, Failure> search(const SearchPlan& plan);

    // Follows continuations until the list ends, breaks or reaches a bound: Walk::stop says which.
    [[nodiscard]] std::expected<Walk, Failure> walk(const WalkPlan& plan);

    // Of the last answer: the hypervisor's monotonic clock, in ns.
    [[nodiscard]] std::uint64_t clock() const { return clock_; }
    // How many exchanges were made.
    [[nodiscard]] std::uint64_t exchanges() const { return exchanges_; }
    // Whether the last exchange failed in the transport: what follows from it says nothing about
    // the guest.
    [[nodiscard]] std::optional<Failure> lost() const { return lost_; }

  private:
    struct Result {
        wire::OpStatus status;
        Bytes bytes;
    };
    // Sends `calls` (count operations of one kind) and hands back one result for each, in order.
    // The bytes stay valid until the next exchange.
    [[nodiscard]] std::expected<std::vector<Result>, Failure> exchange(wire::Op op,
                                                                       std::uint32_t count,
                                                                       Bytes calls,
                                                                       Consistency consistency);
    // The same for one operation that fails unless its status is ok.
    [[nodiscard]] std::expected<Bytes, Failure> exchange_one(wire::Op op, Bytes arguments,
                                                             Consistency consistency);

    Transport& transport_;
    std::uint64_t clock_ = 0;
    std::uint64_t exchanges_ = 0;
    std::optional<Failure> lost_;
};

}  // namespace sgm::guest
