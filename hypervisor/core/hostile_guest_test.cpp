// SPDX-License-Identifier: MIT
// Guests that do their worst, also while they are read: facts or errors, within the bounds of a
// call and from the domain's RAM.
#include "hypervisor/core/testing/hostile_guest.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "hypervisor/core/budget.hpp"
#include "hypervisor/core/operations.hpp"

namespace sgm::hypervisor::testing {
namespace {

using wire::OpStatus;
using wire::WalkResult;
using wire::WalkStop;

constexpr std::uint64_t kSeeds = 20;
constexpr std::uint64_t kAboveBudget = 2000;  // what has begun is finished: budget.hpp

wire::WalkCall walk_of(std::uint64_t root, wire::Paging paging, wire::ListShape shape) {
    return {.root = root,
            .first = HostileGuest::node(0),
            .head = HostileGuest::node(0),
            .link_offset = 0,
            .next_offset = 0,
            .max_nodes = wire::kMaxWalkNodes,
            .paging = paging,
            .shape = shape,
            .field_count = 0};
}

// The list in all shapes, its nodes one by one, all of its memory, and a search.
std::vector<std::uint8_t> everything(std::uint64_t root, wire::Paging paging) {
    const std::vector<wire::FieldPath> fields{
        {.size = 16, .hop_count = 0, .offsets = {}, .reserved = 0},
        {.size = 8, .hop_count = 4, .offsets = {8, 8, 8, 8, 16}, .reserved = 0}};
    BatchBuilder batch{wire::kBatchConsistent};
    for (const auto shape :
         {wire::ListShape::circular, wire::ListShape::null, wire::ListShape::nulls})
        batch.walk(walk_of(root, paging, shape), fields);
    for (std::uint64_t i = 0; i < HostileGuest::kNodeCount; i += 16)
        batch.read(root, paging, HostileGuest::node(i), 300);
    batch.read(root, paging, HostileGuest::kHeap - 4096, 128 * 1024);
    batch.search(search_for("SG", 0, 1 << 20, 1, 100));
    return batch.bytes();
}

class Reader final {
  public:
    Reader(Port& port, Domain& domain)
        : domain_{domain}, operations_{port}, answer_(wire::kMaxAnswerSize) {}

    BatchReply execute(const std::vector<std::uint8_t>& batch) {
        const auto size = operations_.execute(domain_, batch, answer_);
        EXPECT_TRUE(size.has_value());
        if (!size) return {};
        auto reply = take_apart(Bytes{answer_}.first(*size));
        EXPECT_TRUE(reply.has_value());
        return reply.value_or(BatchReply{});
    }

  private:
    Domain& domain_;
    Operations operations_;
    std::vector<std::uint8_t> answer_;
};

void expect_facts_or_errors(const BatchReply& reply) {
    for (const OpReply& op : reply.ops) {
        const bool may_carry = op.status == OpStatus::ok || op.status == OpStatus::fault;
        ASSERT_TRUE(may_carry || (op.status == OpStatus::deferred && op.result.empty()));
        if (op.op != wire::Op::walk || !may_carry) continue;
        const auto walk = op.as<WalkResult>();
        ASSERT_EQ(op.result.size(), sizeof(walk) + std::size_t{walk.node_count} * walk.row_size);
        ASSERT_LE(walk.node_count, wire::kMaxWalkNodes);
        ASSERT_EQ(walk.stop == WalkStop::fault, op.status == OpStatus::fault);
    }
}

class EveryMalice : public ::testing::TestWithParam<wire::Paging> {};

INSTANTIATE_TEST_SUITE_P(Levels, EveryMalice,
                         ::testing::Values(wire::Paging::four_level, wire::Paging::five_level));

TEST_P(EveryMalice, gives_facts_or_errors_from_ram_within_the_bounds_of_a_call) {
    for (const Malice malice : kAllMalice) {
        int spoiled = 0;
        for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
            HostileGuest guest{malice, GetParam(), seed};
            SyntheticPort port{{&guest.vm}};
            const BatchReply reply =
                Reader{port, guest.vm}.execute(everything(guest.vm.root(), GetParam()));
            ASSERT_EQ(guest.vm.reads_outside_ram, 0u);
            ASSERT_LE(guest.vm.reads, kMaxAccesses + kAboveBudget);
            ASSERT_FALSE(guest.vm.is_held());
            ASSERT_NO_FATAL_FAILURE(expect_facts_or_errors(reply));
            ASSERT_FALSE(reply.ops.empty());
            const auto walk = reply.ops.front().as<WalkResult>();
            if (walk.stop != WalkStop::end || walk.node_count != HostileGuest::kNodeCount)
                ++spoiled;
            if (malice == Malice::cyclic_list) {
                ASSERT_EQ(walk.stop, WalkStop::cycle);
            }
        }
        // The malice is real: some lists are not what they were.
        EXPECT_GT(spoiled, 0) << static_cast<int>(malice);
    }
}

TEST_P(EveryMalice, that_goes_on_while_it_is_read_gives_facts_or_errors_within_the_bounds) {
    constexpr int kRounds = 10;
    for (const Malice malice : {Malice::garbage_nodes, Malice::cyclic_list, Malice::self_tables}) {
        HostileGuest made{malice, GetParam(), 1};
        ChangingGuest guest{made.vm};
        SyntheticPort port;
        Reader reader{port, guest};
        const auto batch = everything(made.vm.root(), GetParam());
        std::jthread changer{[&](const std::stop_token& stop) {
            std::mt19937_64 random{7};
            while (!stop.stop_requested())
                guest.change(random);
        }};
        for (int round = 0; round < kRounds; ++round) {
            guest.reads = 0;
            const BatchReply reply = reader.execute(batch);
            ASSERT_EQ(guest.reads_outside_ram, 0u);
            ASSERT_LE(guest.reads, kMaxAccesses + kAboveBudget);
            ASSERT_NO_FATAL_FAILURE(expect_facts_or_errors(reply));
        }
    }
}

}  // namespace
}  // namespace sgm::hypervisor::testing
