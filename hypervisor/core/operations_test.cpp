// SPDX-License-Identifier: MIT
#include "hypervisor/core/operations.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "hypervisor/core/budget.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::hypervisor {
namespace {

using testing::BatchBuilder;
using testing::BatchReply;
using testing::OpReply;
using testing::search_for;
using testing::SyntheticGuest;
using testing::SyntheticPort;
using wire::FaultKind;
using wire::FieldPath;
using wire::ListShape;
using wire::OpStatus;
using wire::Paging;
using wire::WalkCall;
using wire::WalkResult;
using wire::WalkStop;

constexpr std::uint64_t kMiB = 1ul << 20;
constexpr std::uint64_t kHeap = 0xffff'8880'0000'0000;
constexpr std::uint64_t kUnmapped = 0xffff'c900'0000'0000;

FieldPath field(std::uint32_t size, std::vector<std::int32_t> offsets) {
    FieldPath path{.size = size,
                   .hop_count = static_cast<std::uint32_t>(offsets.size() - 1),
                   .offsets = {},
                   .reserved = 0};
    std::ranges::copy(offsets, path.offsets.begin());
    return path;
}

class OperationsTest : public ::testing::Test {
  protected:
    std::optional<BatchReply> execute(Bytes batch, std::size_t room = wire::kMaxAnswerSize) {
        std::vector<std::uint8_t> answer(room, 0xcc);
        const auto size = operations.execute(guest, batch, answer);
        if (!size) return std::nullopt;
        EXPECT_LE(*size, room);
        auto reply = testing::take_apart(Bytes{answer}.first(*size));
        EXPECT_TRUE(reply.has_value());
        return reply;
    }
    OpReply execute_one(const BatchBuilder& batch, std::size_t room = wire::kMaxAnswerSize) {
        const auto reply = execute(batch.bytes(), room);
        if (!reply || reply->ops.size() != 1) {
            ADD_FAILURE() << "not one answer";
            return {};
        }
        return reply->ops[0];
    }
    OpReply read(std::uint64_t address, std::uint32_t size) {
        return execute_one(BatchBuilder{}.read(guest.root(), guest.paging(), address, size));
    }
    OpReply read_physical(std::uint64_t address, std::uint32_t size) {
        return execute_one(BatchBuilder{}.read(0, Paging::physical, address, size));
    }

    SyntheticGuest guest{32 * kMiB};
    SyntheticPort port{{&guest}};
    Operations operations{port};
};

// --- describe and registers

TEST_F(OperationsTest, describe_tells_the_ranges_and_the_clock) {
    guest.add_ram(1ull << 32, kMiB);
    const OpReply reply = execute_one(BatchBuilder{}.describe());
    ASSERT_EQ(reply.status, OpStatus::ok);
    const auto result = reply.as<wire::DescribeResult>();
    EXPECT_EQ(result.domain, guest.id);
    EXPECT_EQ(result.epoch, guest.current_epoch);
    EXPECT_EQ(result.hypervisor_clock, port.clock_ns);
    EXPECT_EQ(result.vcpu_count, 1u);
    EXPECT_EQ(result.readability, wire::Readability::readable);
    ASSERT_EQ(result.range_count, 2u);
    Reader ranges{reply.after<wire::DescribeResult>()};
    EXPECT_EQ(ranges.take<wire::RamRange>()->size, 32 * kMiB);
    EXPECT_EQ(ranges.take<wire::RamRange>()->start, 1ull << 32);
    EXPECT_TRUE(ranges.empty());
}

TEST_F(OperationsTest, an_unreadable_guest_is_said_to_be_and_nothing_of_it_is_read) {
    guest.current_readability = wire::Readability::encrypted;
    const auto reply = execute(BatchBuilder{}
                                   .describe()
                                   .read(0, Paging::physical, 0, 8)
                                   .search(search_for("x", 0, kMiB))
                                   .walk(wire::WalkCall{}, {field(8, {0})})
                                   .bytes());
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->ops[0].as<wire::DescribeResult>().readability, wire::Readability::encrypted);
    for (int i : {1, 2, 3})
        EXPECT_EQ(reply->ops[static_cast<std::size_t>(i)].status, OpStatus::unreadable);
    EXPECT_EQ(guest.reads, 0u);
}

TEST_F(OperationsTest, registers_of_a_vcpu_are_answered_and_others_are_malformed) {
    guest.vcpus.resize(2);
    guest.vcpus[1].valid = wire::kRegCr3;
    guest.vcpus[1].cr3 = 0x1000;
    const OpReply reply = execute_one(BatchBuilder{}.registers(1));
    ASSERT_EQ(reply.status, OpStatus::ok);
    EXPECT_EQ(reply.as<wire::Registers>().cr3, 0x1000u);
    EXPECT_EQ(execute_one(BatchBuilder{}.registers(0)).status, OpStatus::unsupported);
    EXPECT_EQ(execute_one(BatchBuilder{}.registers(2)).status, OpStatus::malformed);
    EXPECT_EQ(execute_one(BatchBuilder{}.registers(~0u)).status, OpStatus::malformed);
}

TEST_F(OperationsTest, a_batch_of_nothing_but_registers_keeps_to_the_bound_of_work) {
    guest.vcpus[0].valid = wire::kRegCr3;
    BatchBuilder batch;
    for (std::uint32_t i = 0; i < wire::kMaxBatchOps; ++i)
        batch.registers(0);
    const auto reply = execute(batch.bytes());
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(std::ranges::count(reply->ops, OpStatus::ok, &OpReply::status), 64);
    EXPECT_EQ(reply->ops.back().status, OpStatus::deferred);
}

// --- read

TEST_F(OperationsTest, a_read_across_pages_gathers_what_is_scattered) {
    guest.map(kHeap, 5 * kMiB);
    guest.map(kHeap + kPageSize, 3 * kMiB);
    std::vector<std::uint8_t> bytes(kPageSize + 100);
    std::ranges::generate(bytes, [i = 0]() mutable { return static_cast<std::uint8_t>(i++ * 7); });
    guest.write_virtual(kHeap + 50, bytes);
    const OpReply reply = read(kHeap + 50, static_cast<std::uint32_t>(bytes.size()));
    ASSERT_EQ(reply.status, OpStatus::ok);
    EXPECT_EQ(reply.as<wire::ReadResult>().size, bytes.size());
    EXPECT_TRUE(std::ranges::equal(reply.after<wire::ReadResult>(), bytes));
}

TEST_F(OperationsTest, a_fault_comes_with_the_bytes_before_it) {
    guest.map(kHeap, 5 * kMiB);
    guest.write(5 * kMiB + 4090, Bytes{std::array<std::uint8_t, 6>{1, 2, 3, 4, 5, 6}});
    const OpReply reply = read(kHeap + 4090, 100);
    ASSERT_EQ(reply.status, OpStatus::fault);
    const auto result = reply.as<wire::ReadResult>();
    EXPECT_EQ(result.fault.address, kHeap + kPageSize);
    EXPECT_EQ(result.fault.kind, FaultKind::not_present);
    EXPECT_EQ(result.fault.level, 1u);
    EXPECT_EQ(result.size, 6u);
    const Bytes data = reply.after<wire::ReadResult>();
    ASSERT_EQ(data.size(), 6u);
    EXPECT_EQ(data[5], 6);
}

TEST_F(OperationsTest, a_page_outside_ram_is_a_fault_at_level_zero) {
    guest.map(kHeap, 0xfee0'0000);  // the local APIC
    const OpReply reply = read(kHeap + 8, 8);
    ASSERT_EQ(reply.status, OpStatus::fault);
    const auto result = reply.as<wire::ReadResult>();
    EXPECT_EQ(result.fault.address, kHeap + 8);
    EXPECT_EQ(result.fault.kind, FaultKind::outside_ram);
    EXPECT_EQ(result.fault.level, 0u);
    EXPECT_EQ(guest.reads_outside_ram, 0u);
}

TEST_F(OperationsTest, a_physical_read_ends_exactly_at_the_end_of_ram) {
    guest.write(32 * kMiB - 1, Bytes{std::array<std::uint8_t, 1>{9}});
    EXPECT_EQ(read_physical(32 * kMiB - 8, 8).status, OpStatus::ok);
    const OpReply reply = read_physical(32 * kMiB - 8, 9);
    ASSERT_EQ(reply.status, OpStatus::fault);
    EXPECT_EQ(reply.as<wire::ReadResult>().fault.address, 32 * kMiB);
    EXPECT_EQ(reply.as<wire::ReadResult>().size, 8u);
    for (const std::uint64_t address : {32 * kMiB, ~0ul - 3, ~0ul, 1ul << 52}) {
        const OpReply outside = read_physical(address, 64);
        EXPECT_EQ(outside.status, OpStatus::fault);
        EXPECT_EQ(outside.as<wire::ReadResult>().fault.address, address);
    }
    EXPECT_EQ(guest.reads_outside_ram, 0u);
}

TEST_F(OperationsTest, reads_with_impossible_arguments_are_malformed) {
    const auto status = [&](std::uint64_t root, Paging paging, std::uint32_t size) {
        return execute_one(BatchBuilder{}.read(root, paging, 0, size)).status;
    };
    EXPECT_EQ(status(0, Paging::physical, 0), OpStatus::malformed);
    EXPECT_EQ(status(0, Paging::physical, wire::kMaxReadSize + 1), OpStatus::malformed);
    EXPECT_EQ(status(0x1000, Paging::physical, 8), OpStatus::malformed);
    EXPECT_EQ(status(0, Paging::four_level, 8), OpStatus::malformed);
    EXPECT_EQ(status(0x1001, Paging::four_level, 8), OpStatus::malformed);
    EXPECT_EQ(status(0x1000, static_cast<Paging>(3), 8), OpStatus::malformed);
    EXPECT_EQ(guest.reads, 0u);
}

// --- search

class SearchTest : public OperationsTest {
  protected:
    std::vector<std::uint64_t> matches(const wire::SearchCall& call) {
        const OpReply reply = execute_one(BatchBuilder{}.search(call));
        EXPECT_EQ(reply.status, OpStatus::ok);
        last = reply.as<wire::SearchResult>();
        Reader reader{reply.after<wire::SearchResult>()};
        std::vector<std::uint64_t> found;
        while (const auto match = reader.take<std::uint64_t>())
            found.push_back(*match);
        EXPECT_EQ(found.size(), last.count);
        return found;
    }
    void put(std::uint64_t physical, std::string_view text) {
        guest.write(physical,
                    Bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    }
    wire::SearchResult last{};
};

TEST_F(SearchTest, matches_are_found_also_across_pages_and_at_both_ends) {
    const std::vector<std::uint64_t> places = {0, 100, 4090, 3 * kMiB - 3, 5 * kMiB, 32 * kMiB - 6};
    for (const std::uint64_t place : places)
        put(place, "needle");
    EXPECT_EQ(matches(search_for("needle", 0, 32 * kMiB)), places);
    EXPECT_EQ(last.next, 32 * kMiB);
    EXPECT_EQ(matches(search_for("needle", 1, 5 * kMiB)),
              (std::vector<std::uint64_t>{100, 4090, 3 * kMiB - 3}));
    // A match belongs to the range in which it begins.
    EXPECT_EQ(matches(search_for("needle", 0, 101)), (std::vector<std::uint64_t>{0, 100}));
    EXPECT_EQ(matches(search_for("needle", 101, 4091)), (std::vector<std::uint64_t>{4090}));
}

TEST_F(SearchTest, alignment_leaves_out_what_is_not_on_it) {
    for (const std::uint64_t place : {4096ull, 8192ull + 8, 12288ull + 4, 16384ull})
        put(place, "needle");
    EXPECT_EQ(matches(search_for("needle", 0, kMiB, 4096)),
              (std::vector<std::uint64_t>{4096, 16384}));
    EXPECT_EQ(matches(search_for("needle", 0, kMiB, 8)),
              (std::vector<std::uint64_t>{4096, 8192 + 8, 16384}));
    EXPECT_EQ(matches(search_for("needle", 4097, kMiB, 4)),
              (std::vector<std::uint64_t>{8192 + 8, 12288 + 4, 16384}));
}

TEST_F(SearchTest, the_bound_on_matches_is_resumed_without_loss_or_repetition) {
    std::vector<std::uint64_t> places;
    for (std::uint64_t i = 0; i < 100; ++i)
        places.push_back(kMiB + i * 777);
    for (const std::uint64_t place : places)
        put(place, "needle");
    std::vector<std::uint64_t> found;
    std::uint64_t at = 0;
    while (at < 32 * kMiB) {
        const auto some = matches(search_for("needle", at, 32 * kMiB, 1, 7));
        ASSERT_LE(some.size(), 7u);
        ASSERT_GT(last.next, at);
        found.insert(found.end(), some.begin(), some.end());
        at = last.next;
    }
    EXPECT_EQ(found, places);
}

TEST_F(SearchTest, unpopulated_memory_is_skipped_and_not_touched) {
    put(20 * kMiB, "needle");
    EXPECT_EQ(matches(search_for("needle", 0, 32 * kMiB)), std::vector<std::uint64_t>{20 * kMiB});
    EXPECT_LT(guest.reads, 20u);
    // At most the tail of a match that would begin in a populated page.
    EXPECT_LE(guest.unpopulated_reads, 2u);
}

TEST_F(SearchTest, a_large_search_stops_at_its_bound_and_goes_on) {
    SyntheticGuest large{600 * kMiB};
    for (std::uint64_t at = 0; at < 500 * kMiB; at += kPageSize)
        large.write_u64(at, 1);
    std::vector<std::uint8_t> answer(wire::kMaxAnswerSize);
    std::uint64_t at = 0;
    std::vector<std::uint64_t> steps;
    while (at < 600 * kMiB) {
        const auto size = operations.execute(
            large, BatchBuilder{}.search(search_for("needle", at, 600 * kMiB, 4096)).bytes(),
            answer);
        ASSERT_TRUE(size.has_value());
        const auto reply = testing::take_apart(Bytes{answer}.first(*size));
        const std::uint64_t next = reply->ops.at(0).as<wire::SearchResult>().next;
        ASSERT_GT(next, at);
        steps.push_back(next - at);
        at = next;
    }
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0], wire::kMaxSearchBytes);
}

TEST_F(SearchTest, a_batch_ends_when_the_port_has_no_more_time_and_goes_on) {
    for (std::uint64_t at = 0; at < 32 * kMiB; at += kPageSize)
        guest.write_u64(at, 1);
    put(32 * kMiB - 64, "needle");
    port.clock_step_ns = 1000;
    port.longest_batch_ns = 3000;
    std::uint64_t at = 0;
    std::vector<std::uint64_t> found;
    int batches = 0;
    while (at < 32 * kMiB && ++batches < 100) {
        const auto some = matches(search_for("needle", at, 32 * kMiB));
        found.insert(found.end(), some.begin(), some.end());
        ASSERT_GT(last.next, at);
        at = last.next;
    }
    EXPECT_GT(batches, 1);
    EXPECT_EQ(found, std::vector<std::uint64_t>{32 * kMiB - 64});

    // What has not begun when the time is over is deferred.
    const auto reply = execute(BatchBuilder{}
                                   .search(search_for("needle", 0, 32 * kMiB))
                                   .read(0, Paging::physical, 0, 8)
                                   .bytes());
    EXPECT_EQ(reply->ops.at(0).status, OpStatus::ok);
    EXPECT_EQ(reply->ops.at(1).status, OpStatus::deferred);
}

TEST_F(SearchTest, a_search_is_the_same_as_looking_at_every_byte) {
    std::mt19937_64 random{7};
    std::vector<std::uint8_t> bytes(64 * 1024);
    for (auto& byte : bytes)
        byte = static_cast<std::uint8_t>(random() % 3);
    guest.write(kMiB, bytes);
    for (int round = 0; round < 100; ++round) {
        const std::uint64_t start = random() % bytes.size();
        const std::uint64_t end = start + random() % (bytes.size() - start + 1);
        const auto size = 1 + random() % 6;
        const std::uint32_t alignment = 1u << random() % 5;
        std::string pattern;
        for (std::uint64_t i = 0; i < size; ++i) {
            pattern.push_back(static_cast<char>(1 + random() % 2));
        }
        std::vector<std::uint64_t> expected;
        for (std::uint64_t i = start; i < end && i + size <= bytes.size(); ++i) {
            if (i % alignment == 0 && std::equal(pattern.begin(), pattern.end(), &bytes[i])) {
                expected.push_back(kMiB + i);
            }
        }
        if (expected.size() > wire::kMaxSearchMatches) expected.resize(wire::kMaxSearchMatches);
        ASSERT_EQ(matches(search_for(pattern, kMiB + start, kMiB + end, alignment)), expected);
    }
}

TEST_F(SearchTest, searches_with_impossible_arguments_are_malformed) {
    const auto status = [&](auto change) {
        wire::SearchCall call = search_for("needle", 0, kMiB);
        change(call);
        return execute_one(BatchBuilder{}.search(call)).status;
    };
    EXPECT_EQ(status([](auto& c) { c.start = kMiB + 1; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.alignment = 0; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.alignment = 3; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.alignment = 8192; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.max_matches = 0; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.max_matches = 4097; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.pattern_size = 0; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.pattern_size = 65; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c) { c.reserved = 1; }), OpStatus::malformed);
    EXPECT_EQ(guest.reads, 0u);
    EXPECT_EQ(status([](auto& c) { c.start = c.end = ~0ull; }), OpStatus::ok);
    EXPECT_EQ(status([](auto& c) { c.end = ~0ull; }), OpStatus::ok);
}

// --- walk

struct Row {
    std::uint64_t node;
    std::uint32_t bad_fields;
    std::uint32_t null_fields;
    std::vector<std::uint8_t> fields;
};

class WalkTest : public OperationsTest {
  protected:
    static constexpr std::uint64_t kNodeSize = 256;
    static constexpr std::int32_t kLink = 64;  // of the list pointer in a node

    WalkTest() { guest.map_new(kHeap, kMiB); }

    static std::uint64_t node(std::uint64_t i) { return kHeap + (i + 1) * kNodeSize; }
    static std::vector<std::uint64_t> links(std::uint64_t count) {
        std::vector<std::uint64_t> result;
        for (std::uint64_t i = 0; i < count; ++i) {
            // The order of the list is not that of memory.
            result.push_back(node((i * 7) % count) + kLink);
        }
        return result;
    }
    WalkCall call(std::uint64_t first, ListShape shape, std::uint64_t head = 0) {
        return {.root = guest.root(),
                .first = first,
                .head = head,
                .link_offset = kLink,
                .next_offset = 0,
                .max_nodes = wire::kMaxWalkNodes,
                .paging = guest.paging(),
                .shape = shape,
                .field_count = 0};
    }
    std::vector<Row> walk(const WalkCall& call, const std::vector<FieldPath>& fields,
                          std::size_t room = wire::kMaxAnswerSize) {
        const OpReply reply = execute_one(BatchBuilder{}.walk(call, fields), room);
        last = reply.as<WalkResult>();
        EXPECT_EQ(reply.status, last.stop == WalkStop::fault ? OpStatus::fault : OpStatus::ok);
        Reader reader{reply.after<WalkResult>()};
        std::vector<Row> rows;
        for (std::uint32_t i = 0; i < last.node_count; ++i) {
            const auto header = reader.take<wire::WalkRow>();
            const auto bytes = reader.take_bytes(last.row_size - sizeof(wire::WalkRow));
            if (!header || !bytes) {
                ADD_FAILURE() << "row " << i << " is cut short";
                break;
            }
            rows.push_back({header->node,
                            header->bad_fields,
                            header->null_fields,
                            {bytes->begin(), bytes->end()}});
        }
        EXPECT_TRUE(reader.empty());
        return rows;
    }
    static std::vector<std::uint64_t> links_of(const std::vector<Row>& rows) {
        std::vector<std::uint64_t> result;
        for (const Row& row : rows)
            result.push_back(row.node + kLink);
        return result;
    }

    // The links of all rows, by walks of at most `max_nodes` each.
    std::vector<std::uint64_t> whole_list(std::uint64_t first, ListShape shape, std::uint64_t head,
                                          std::uint32_t max_nodes) {
        std::vector<std::uint64_t> found;
        WalkCall next = call(first, shape, head);
        next.max_nodes = max_nodes;
        for (int calls = 0; calls < 1000; ++calls) {
            const auto some = links_of(walk(next, one_field));
            found.insert(found.end(), some.begin(), some.end());
            if (last.stop != WalkStop::bound) return found;
            next.first = last.next;
        }
        ADD_FAILURE() << "the list does not end";
        return found;
    }

    static constexpr std::array kShapes{ListShape::circular, ListShape::null, ListShape::nulls};
    const std::vector<FieldPath> one_field{field(4, {0})};
    WalkResult last{};
};

TEST_F(WalkTest, a_circular_list_ends_at_its_head) {
    const auto list = links(50);
    guest.link(list, kHeap);
    guest.write_virtual_u64(kHeap, list[0]);
    EXPECT_EQ(links_of(walk(call(list[0], ListShape::circular, kHeap), one_field)), list);
    EXPECT_EQ(last.stop, WalkStop::end);
    EXPECT_EQ(last.next, kHeap);
    EXPECT_EQ(last.row_size, 24u);
}

TEST_F(WalkTest, a_walk_that_begins_at_the_head_has_a_row_for_it_and_ends_there_again) {
    const auto list = links(50);
    guest.link(list, list[0]);
    EXPECT_EQ(links_of(walk(call(list[0], ListShape::circular, list[0]), one_field)), list);
    EXPECT_EQ(last.stop, WalkStop::end);
    guest.write_virtual_u64(kHeap, kHeap);
    EXPECT_EQ(walk(call(kHeap, ListShape::circular, kHeap), one_field).size(), 1u);
    EXPECT_EQ(last.stop, WalkStop::end);
}

TEST_F(WalkTest, null_and_nulls_lists_end_at_their_markers_also_when_empty) {
    const auto list = links(10);
    guest.link(list, 0);
    EXPECT_EQ(links_of(walk(call(list[0], ListShape::null), one_field)), list);
    EXPECT_EQ(last.stop, WalkStop::end);
    EXPECT_EQ(last.next, 0u);
    EXPECT_TRUE(walk(call(0, ListShape::null), one_field).empty());
    EXPECT_EQ(last.stop, WalkStop::end);

    guest.link(list, 0x123 << 1 | 1);
    EXPECT_EQ(links_of(walk(call(list[0], ListShape::nulls), one_field)), list);
    EXPECT_EQ(last.stop, WalkStop::end);
    EXPECT_EQ(last.next, 0x123u << 1 | 1);
    EXPECT_TRUE(walk(call(77, ListShape::nulls), one_field).empty());
}

TEST_F(WalkTest, the_next_pointer_may_lie_apart_from_the_link) {
    const auto list = links(10);
    guest.link(list, 0, -24);
    WalkCall backwards = call(list[0], ListShape::null);
    backwards.next_offset = -24;
    EXPECT_EQ(links_of(walk(backwards, one_field)), list);
}

TEST_F(WalkTest, fields_follow_pointers_and_say_which_are_bad) {
    const std::uint64_t link = node(0) + kLink;
    guest.write_virtual_u64(link, 0);
    guest.write_virtual_u64(node(0), 0x1122'3344'5566'7788);
    guest.write_virtual_u64(node(0) + 8, node(10) + 16);  // pointer to pointer
    guest.write_virtual_u64(node(10) + 32, node(20));     // at +16 of that
    guest.write_virtual_u64(node(20) - 4, 0xaabb'ccdd'0000'0000);
    guest.write_virtual_u64(node(0) + 24, kUnmapped);
    const auto rows = walk(call(link, ListShape::null), {field(4, {0}),          //
                                                         field(8, {8, 16, -4}),  //
                                                         field(3, {16, 0}),      // null
                                                         field(2, {24, 0}),      // fault
                                                         field(5, {24, 8, 0}),   // on the way
                                                         field(1, {1})});
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].bad_fields, 0b11100u);
    EXPECT_EQ(rows[0].null_fields, 0b00100u);
    EXPECT_EQ(last.row_size, 40u);
    EXPECT_EQ(rows[0].fields,
              (std::vector<std::uint8_t>{0x88, 0x77, 0x66, 0x55,                          //
                                         0,    0,    0,    0,    0xdd, 0xcc, 0xbb, 0xaa,  //
                                         0,    0,    0,                                   //
                                         0,    0,                                         //
                                         0,    0,    0,    0,    0,                       //
                                         0x77,                                            //
                                         0}));
}

TEST_F(WalkTest, sixteen_fields_of_four_hops_each_are_read_and_each_says_where_its_way_ends) {
    const std::uint64_t link = node(0) + kLink;
    guest.write_virtual_u64(link, 0);
    const std::vector<FieldPath> fields(wire::kMaxWalkFields, field(8, {0, 8, 16, 24, 32}));
    std::array<std::uint64_t, wire::kMaxFieldHops + 1> pointers{};  // and the field itself
    for (std::uint64_t hop = 0; hop <= wire::kMaxFieldHops; ++hop) {
        pointers[hop] = node(hop) + 8 * hop;
        guest.write_virtual_u64(pointers[hop], node(hop + 1));
    }
    auto rows = walk(call(link, ListShape::null), fields);
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].bad_fields, 0u);
    for (std::size_t i = 0; i < fields.size(); ++i) {
        std::uint64_t value = 0;
        std::memcpy(&value, &rows[0].fields[8 * i], sizeof(value));
        EXPECT_EQ(value, node(5)) << i;
    }

    const std::uint32_t all = (1u << wire::kMaxWalkFields) - 1;
    for (std::uint64_t hop = 0; hop < wire::kMaxFieldHops; ++hop) {
        guest.write_virtual_u64(pointers[hop], 0);
        rows = walk(call(link, ListShape::null), fields);
        EXPECT_EQ(rows[0].bad_fields, all) << hop;
        EXPECT_EQ(rows[0].null_fields, all) << hop;
        guest.write_virtual_u64(pointers[hop], kUnmapped);
        rows = walk(call(link, ListShape::null), fields);
        EXPECT_EQ(rows[0].bad_fields, all) << hop;
        EXPECT_EQ(rows[0].null_fields, 0u) << hop;
        EXPECT_EQ(rows[0].fields, std::vector<std::uint8_t>(8 * fields.size(), 0));
        guest.write_virtual_u64(pointers[hop], node(hop + 1));
    }
}

TEST_F(WalkTest, a_field_that_is_zero_is_not_a_null_pointer) {
    const std::uint64_t link = node(0) + kLink;
    guest.write_virtual_u64(link, 0);
    const auto rows = walk(call(link, ListShape::null), {field(8, {0})});
    EXPECT_EQ(rows[0].bad_fields, 0u);
    EXPECT_EQ(rows[0].null_fields, 0u);
}

TEST_F(WalkTest, a_field_of_which_only_the_beginning_can_be_read_is_zeros) {
    const std::uint64_t last_page = kHeap + kMiB - kPageSize;
    const std::uint64_t link = node(0) + kLink;
    guest.write_virtual_u64(link, 0);
    guest.write_virtual_u64(node(0), last_page + kPageSize - 4);
    guest.write_virtual(last_page + kPageSize - 4, Bytes{std::array<std::uint8_t, 4>{1, 2, 3, 4}});
    const auto rows = walk(call(link, ListShape::null), {field(8, {0, 0})});
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].bad_fields, 1u);
    EXPECT_EQ(rows[0].fields, std::vector<std::uint8_t>(8, 0));
}

TEST_F(WalkTest, a_next_pointer_that_cannot_be_read_is_a_fault_with_the_rows_before_it) {
    const auto list = links(5);
    guest.link(list, kUnmapped + 0x40);
    const auto rows = walk(call(list[0], ListShape::circular, kHeap), one_field);
    EXPECT_EQ(last.stop, WalkStop::fault);
    EXPECT_EQ(last.next, kUnmapped + 0x40);
    EXPECT_EQ(last.fault.address, kUnmapped + 0x40);
    EXPECT_EQ(last.fault.kind, FaultKind::not_present);
    ASSERT_EQ(rows.size(), 6u);
    EXPECT_EQ(rows[4].bad_fields, 0u);
    EXPECT_EQ(rows[5].bad_fields, 1u);
    EXPECT_EQ(rows[5].null_fields, 0u);
}

TEST_F(WalkTest, every_cycle_is_told_apart_and_no_node_is_told_twice) {
    std::mt19937_64 random{5};
    for (std::uint64_t count = 1; count <= 40; ++count) {
        const auto list = links(count % 7 == 0 ? count + 1 : count);
        for (std::size_t back_to = 0; back_to < list.size(); ++back_to) {
            guest.link(list, list[back_to]);
            for (const ListShape shape : kShapes) {
                WalkCall exact = call(list[0], shape, kHeap);
                exact.max_nodes = static_cast<std::uint32_t>(list.size() + random() % 100);
                const auto rows = walk(exact, one_field);
                ASSERT_EQ(last.stop, WalkStop::cycle) << list.size() << " back to " << back_to;
                ASSERT_EQ(links_of(rows), list) << list.size() << " back to " << back_to;
                ASSERT_EQ(last.next, list[back_to]);
            }
        }
    }
}

TEST_F(WalkTest, a_cycle_longer_than_the_bound_is_a_bound) {
    const auto list = links(50);
    guest.link(list, list[10]);
    WalkCall bounded = call(list[0], ListShape::null);
    bounded.max_nodes = 50;
    EXPECT_EQ(links_of(walk(bounded, one_field)), list);
    EXPECT_EQ(last.stop, WalkStop::cycle);
    bounded.max_nodes = 49;
    EXPECT_EQ(walk(bounded, one_field).size(), 49u);
    EXPECT_EQ(last.stop, WalkStop::bound);
    EXPECT_EQ(last.next, list[49]);
}

TEST_F(WalkTest, the_bound_on_nodes_is_resumed_without_loss_or_repetition) {
    const auto list = links(100);
    for (const auto& [shape, end] : {std::pair{ListShape::circular, kHeap},
                                     {ListShape::null, std::uint64_t{0}},
                                     {ListShape::nulls, std::uint64_t{0x246 | 1}}}) {
        guest.link(list, end);
        EXPECT_EQ(whole_list(list[0], shape, kHeap, 7), list);
        EXPECT_EQ(last.stop, WalkStop::end);
        EXPECT_EQ(last.next, end);
    }
}

TEST_F(WalkTest, a_walk_from_the_head_is_resumed_past_the_heads_own_row) {
    const auto list = links(10);
    guest.link(list, list[0]);
    EXPECT_EQ(whole_list(list[0], ListShape::circular, list[0], 1), list);
    EXPECT_EQ(last.stop, WalkStop::end);
}

TEST_F(WalkTest, a_list_that_breaks_is_resumed_up_to_where_it_breaks) {
    const auto list = links(20);
    guest.link(list, kUnmapped);
    auto found = whole_list(list[0], ListShape::circular, kHeap, 6);
    EXPECT_EQ(last.stop, WalkStop::fault);
    EXPECT_EQ(last.next, kUnmapped);
    ASSERT_EQ(found.size(), list.size() + 1);
    found.pop_back();
    EXPECT_EQ(found, list);
}

TEST_F(WalkTest, a_list_of_exactly_the_bound_has_ended) {
    const auto list = links(10);
    guest.link(list, kHeap);
    WalkCall exact = call(list[0], ListShape::circular, kHeap);
    exact.max_nodes = 10;
    EXPECT_EQ(walk(exact, one_field).size(), 10u);
    EXPECT_EQ(last.stop, WalkStop::end);
}

TEST_F(WalkTest, the_answers_room_bounds_a_walk_too) {
    const auto list = links(100);
    guest.link(list, kHeap);
    const std::size_t room =
        sizeof(wire::BatchAnswer) + sizeof(wire::OpAnswer) + sizeof(WalkResult) + 24 * 10 + 23;
    const auto rows = walk(call(list[0], ListShape::circular, kHeap), one_field, room);
    EXPECT_EQ(rows.size(), 10u);
    EXPECT_EQ(last.stop, WalkStop::bound);
    EXPECT_EQ(last.next, list[10]);
}

TEST_F(WalkTest, walks_with_impossible_arguments_are_malformed) {
    const auto status = [&](auto change) {
        WalkCall bad = call(node(0), ListShape::null);
        std::vector<FieldPath> fields = one_field;
        change(bad, fields);
        return execute_one(BatchBuilder{}.walk(bad, fields)).status;
    };
    EXPECT_EQ(status([](auto& c, auto&) { c.root = 0; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c, auto&) { c.paging = Paging::physical; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c, auto&) { c.max_nodes = 0; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto& c, auto&) { c.max_nodes = wire::kMaxWalkNodes + 1; }),
              OpStatus::malformed);
    EXPECT_EQ(status([](auto& c, auto&) { c.shape = static_cast<ListShape>(0); }),
              OpStatus::malformed);
    EXPECT_EQ(status([](auto&, auto& f) { f.clear(); }), OpStatus::malformed);
    EXPECT_EQ(status([](auto&, auto& f) { f.resize(17, f[0]); }), OpStatus::malformed);
    EXPECT_EQ(status([](auto&, auto& f) { f[0].size = 0; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto&, auto& f) { f[0].size = 257; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto&, auto& f) { f[0].hop_count = 5; }), OpStatus::malformed);
    EXPECT_EQ(status([](auto&, auto& f) { f[0].reserved = 1; }), OpStatus::malformed);
    EXPECT_EQ(guest.reads, 0u);
}

TEST_F(WalkTest, a_list_that_changes_under_the_walk_ends_within_its_bounds) {
    const auto list = links(64);
    guest.link(list, kHeap);
    std::mt19937_64 random{3};
    guest.before_read = [&] {
        if (random() % 4 == 0) {
            guest.write_virtual_u64(list[random() % list.size()], list[random() % list.size()]);
        }
    };
    for (int i = 0; i < 200; ++i) {
        WalkCall bounded = call(list[0], ListShape::circular, kHeap);
        bounded.max_nodes = 1000;
        ASSERT_LE(walk(bounded, one_field).size(), 1000u);
    }
    EXPECT_EQ(guest.reads_outside_ram, 0u);
}

// --- batches

TEST_F(OperationsTest, every_truncation_and_extension_of_a_batch_is_refused) {
    const auto batch = BatchBuilder{}
                           .describe()
                           .read(0, Paging::physical, 0, 8)
                           .search(search_for("x", 0, kMiB))
                           .bytes();
    ASSERT_TRUE(execute(batch).has_value());
    const std::uint64_t reads = guest.reads;
    for (std::size_t size = 0; size < batch.size(); ++size) {
        EXPECT_FALSE(execute(Bytes{batch}.first(size)).has_value()) << size;
    }
    for (std::size_t more = 1; more <= 64; ++more) {
        auto longer = batch;
        longer.resize(batch.size() + more);
        EXPECT_FALSE(execute(longer).has_value()) << more;
    }
    EXPECT_EQ(guest.reads, reads) << "a batch that is refused reads nothing";
}

TEST_F(OperationsTest, counts_flags_and_sizes_out_of_range_are_refused) {
    std::vector<std::uint8_t> batch = BatchBuilder{2}.bytes();
    EXPECT_FALSE(execute(batch).has_value()) << "an unknown flag";
    BatchBuilder many;
    for (std::uint32_t i = 0; i < wire::kMaxBatchOps; ++i)
        many.describe();
    EXPECT_TRUE(execute(many.bytes()).has_value());
    many.describe();
    EXPECT_FALSE(execute(many.bytes()).has_value()) << "one operation too many";
    batch = BatchBuilder{}.describe().bytes();
    for (const std::uint32_t size : {1u, 8u, 0xffff'fff8u, 0xffff'ffffu}) {
        std::memcpy(&batch[8 + 4], &size, sizeof(size));
        EXPECT_FALSE(execute(batch).has_value()) << size;
    }
    batch.assign(wire::kMaxRequestSize + 8, 0);
    EXPECT_FALSE(execute(batch).has_value()) << "longer than a request";
}

TEST_F(OperationsTest, an_unknown_or_malformed_operation_does_not_spoil_its_neighbours) {
    const auto unknown = static_cast<wire::Op>(99);
    const std::array<std::uint8_t, 5> junk{1, 2, 3, 4, 5};
    const auto reply = execute(BatchBuilder{}
                                   .add(unknown, {junk})
                                   .add(wire::Op::read, {junk})
                                   .add(wire::Op::describe, {junk})
                                   .describe()
                                   .bytes());
    ASSERT_TRUE(reply.has_value());
    ASSERT_EQ(reply->ops.size(), 4u);
    EXPECT_EQ(reply->ops[0].op, unknown);
    EXPECT_EQ(reply->ops[0].status, OpStatus::unsupported);
    EXPECT_EQ(reply->ops[1].status, OpStatus::malformed);
    EXPECT_EQ(reply->ops[2].status, OpStatus::malformed);
    EXPECT_EQ(reply->ops[3].status, OpStatus::ok);
}

TEST_F(OperationsTest, what_does_not_fit_the_answer_is_deferred) {
    BatchBuilder batch;
    for (int i = 0; i < 3; ++i)
        batch.read(0, Paging::physical, 0, wire::kMaxReadSize);
    batch.describe();
    const auto reply = execute(batch.bytes());
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->ops[0].status, OpStatus::ok);
    EXPECT_EQ(reply->ops[1].status, OpStatus::deferred);
    EXPECT_TRUE(reply->ops[1].result.empty());
    EXPECT_EQ(reply->ops[2].status, OpStatus::deferred);
    EXPECT_EQ(reply->ops[3].status, OpStatus::ok);
    EXPECT_FALSE(execute(batch.bytes(), 24 + 4 * 8 - 1).has_value());
    EXPECT_TRUE(execute(batch.bytes(), 24 + 4 * 8).has_value());
}

TEST_F(WalkTest, a_batch_of_long_walks_keeps_to_the_bound_of_work) {
    const auto list = links(2000);
    guest.link(list, kHeap);
    BatchBuilder batch;
    std::vector<FieldPath> fields(16, field(1, {0}));
    for (int i = 0; i < 70; ++i)
        batch.walk(call(list[0], ListShape::circular, kHeap), fields);
    guest.reads = 0;
    const auto reply = execute(batch.bytes());
    ASSERT_TRUE(reply.has_value());
    EXPECT_LE(guest.reads, kMaxAccesses + 2000);
    EXPECT_EQ(reply->ops.front().status, OpStatus::ok);
    EXPECT_EQ(reply->ops.back().status, OpStatus::deferred);
}

// --- consistent batches

TEST_F(OperationsTest, a_consistent_batch_holds_the_vcpus_and_says_for_how_long) {
    guest.before_read = [&] {
        EXPECT_TRUE(guest.is_held());
        port.clock_ns += 500;
    };
    const auto reply =
        execute(BatchBuilder{wire::kBatchConsistent}.read(0, Paging::physical, 0, 8).bytes());
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->header.flags, wire::kBatchConsistent);
    EXPECT_EQ(reply->header.held_ns, 500u);
    EXPECT_EQ(guest.holds, 1);
    EXPECT_FALSE(guest.is_held());
}

TEST_F(OperationsTest, an_answer_is_not_called_consistent_when_the_vcpus_ran) {
    const auto batch = BatchBuilder{wire::kBatchConsistent}.describe();
    guest.hold_lasts = false;
    EXPECT_EQ(execute(batch.bytes())->header.flags, 0u);
    guest.can_hold = false;
    EXPECT_EQ(execute(batch.bytes())->header.flags, 0u);
    EXPECT_EQ(execute(BatchBuilder{}.describe().bytes())->header.flags, 0u);
    EXPECT_FALSE(guest.is_held());
}

TEST_F(WalkTest, vcpus_are_not_held_beyond_the_bound) {
    const auto list = links(2000);
    guest.link(list, kHeap);
    guest.before_read = [&] { port.clock_ns += 100'000; };
    BatchBuilder batch{wire::kBatchConsistent};
    for (int i = 0; i < 3; ++i)
        batch.walk(call(list[0], ListShape::circular, kHeap), one_field);
    const auto reply = execute(batch.bytes());
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->ops[0].as<WalkResult>().stop, WalkStop::bound);
    EXPECT_EQ(reply->ops[1].status, OpStatus::deferred);
    EXPECT_EQ(reply->ops[2].status, OpStatus::deferred);
    EXPECT_LE(reply->header.held_ns, 2 * kMaxHoldNs);
    EXPECT_FALSE(guest.is_held());
}

// --- anything at all

TEST_F(WalkTest, random_batches_on_a_random_guest_stay_in_ram_and_within_bounds) {
    std::mt19937_64 random{2026};
    for (std::uint64_t at = kHeap; at < kHeap + kMiB / 4; at += 8) {
        guest.write_virtual_u64(at, random() % 2 != 0 ? random() : kHeap + random() % (2 * kMiB));
    }
    const std::uint64_t page_table = guest.entry(kHeap, 1);
    for (int i = 0; i < 16; ++i)
        guest.write_u64(page_table + random() % 256 * 8, random());
    const std::vector<std::uint64_t> interesting = {
        0ull,  1ull,      kHeap,      kHeap + kMiB - 4, kUnmapped, 32 * kMiB - 8,
        ~0ull, ~0ull - 7, 1ull << 47, 0xfee0'0000ull,   1ull << 32};
    const auto value = [&] {
        return random() % 3 == 0 ? random() : interesting[random() % interesting.size()];
    };
    const auto small = [&] { return static_cast<std::uint32_t>(random() % 300); };
    for (int round = 0; round < 3000; ++round) {
        BatchBuilder batch{static_cast<std::uint32_t>(random() % 2)};
        for (std::uint64_t ops = random() % 6; ops > 0; --ops) {
            const std::uint64_t root = random() % 4 != 0 ? guest.root() : value();
            const auto paging =
                random() % 4 != 0 ? guest.paging() : static_cast<Paging>(small() % 7);
            switch (random() % 6) {
                case 0: batch.describe(); break;
                case 1: batch.registers(small() % 2); break;
                case 2: batch.read(root, paging, value(), small()); break;
                case 3: {
                    auto search = search_for("ab", value(), value(), 1u << random() % 14);
                    search.end = std::min(search.end, search.start + kMiB);
                    search.pattern_size = small() % 70;
                    batch.search(search);
                    break;
                }
                case 4: {
                    std::vector<FieldPath> fields;
                    for (std::uint64_t i = random() % 5; i > 0; --i) {
                        FieldPath path{.size = small(),
                                       .hop_count = small() % 6,
                                       .offsets = {},
                                       .reserved = 0};
                        for (auto& offset : path.offsets) {
                            offset =
                                static_cast<std::int32_t>(random() % 4 != 0 ? small() : random());
                        }
                        fields.push_back(path);
                    }
                    batch.walk({.root = root,
                                .first = value(),
                                .head = value(),
                                .link_offset = static_cast<std::int32_t>(value()),
                                .next_offset = static_cast<std::int32_t>(small()),
                                .max_nodes = small(),
                                .paging = paging,
                                .shape = static_cast<ListShape>(random() % 5),
                                .field_count = 0},
                               fields);
                    break;
                }
                default: {
                    std::array<std::uint8_t, 48> junk;
                    for (auto& byte : junk)
                        byte = static_cast<std::uint8_t>(random());
                    batch.add(static_cast<wire::Op>(random() % 8),
                              {Bytes{junk}.first(random() % junk.size())});
                }
            }
        }
        auto bytes = batch.bytes();
        if (random() % 4 == 0)
            bytes[random() % bytes.size()] ^= static_cast<std::uint8_t>(random());
        guest.reads = 0;
        const auto reply = execute(bytes, 1024 + random() % 65536);
        ASSERT_EQ(guest.reads_outside_ram, 0u);
        ASSERT_FALSE(guest.is_held());
        ASSERT_LE(guest.reads, kMaxAccesses + 2000);
        if (!reply) continue;
        for (const OpReply& op : reply->ops) {
            const bool may_carry = op.status == OpStatus::ok || op.status == OpStatus::fault;
            ASSERT_TRUE(may_carry || op.result.empty());
        }
    }
}

}  // namespace
}  // namespace sgm::hypervisor
