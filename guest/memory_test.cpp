// SPDX-License-Identifier: MIT
#include "guest/memory.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <random>

#include "guest/testing/direct_transport.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::guest {
namespace {

using hypervisor::testing::SyntheticGuest;
using hypervisor::testing::SyntheticPort;
using testing::DirectTransport;

// Answers as the test says, to hold the parsers against any hypervisor.
class ScriptedTransport final : public Transport {
  public:
    using Script = std::function<std::expected<std::vector<std::uint8_t>, TransportError>(Bytes)>;
    explicit ScriptedTransport(Script script) : script_{std::move(script)} {}

    std::expected<Bytes, TransportError> exchange(Bytes batch) override {
        auto answer = script_(batch);
        if (!answer) return std::unexpected{answer.error()};
        answer_ = std::move(*answer);
        return Bytes{answer_};
    }

  private:
    Script script_;
    std::vector<std::uint8_t> answer_;
};

// Changes a true answer on its way.
class TamperedTransport final : public Transport {
  public:
    TamperedTransport(Transport& inner, std::function<void(std::vector<std::uint8_t>&)> tamper)
        : inner_{inner}, tamper_{std::move(tamper)} {}

    std::expected<Bytes, TransportError> exchange(Bytes batch) override {
        const auto answer = inner_.exchange(batch);
        if (!answer) return answer;
        answer_.assign(answer->begin(), answer->end());
        tamper_(answer_);
        return Bytes{answer_};
    }

  private:
    Transport& inner_;
    std::function<void(std::vector<std::uint8_t>&)> tamper_;
    std::vector<std::uint8_t> answer_;
};

class MemoryTest : public ::testing::Test {
  protected:
    SyntheticGuest guest_{16u << 20};
    SyntheticPort port_{{&guest_}};
    DirectTransport transport_{port_, guest_};
    Memory memory_{transport_};
    AddressSpace space_{.root = guest_.root(), .paging = guest_.paging()};

    std::vector<std::uint8_t> fill(std::uint64_t physical, std::size_t size) {
        std::vector<std::uint8_t> bytes(size);
        std::mt19937_64 random{size};
        for (std::uint8_t& byte : bytes)
            byte = static_cast<std::uint8_t>(random());
        guest_.write(physical, bytes);
        return bytes;
    }
};

TEST_F(MemoryTest, describe_tells_the_ram_ranges) {
    const auto description = memory_.describe();
    ASSERT_TRUE(description);
    EXPECT_EQ(description->result.domain, guest_.id);
    ASSERT_EQ(description->ranges.size(), 1u);
    EXPECT_EQ(description->ranges[0].size, 16u << 20);
}

TEST_F(MemoryTest, registers_that_the_port_cannot_read_are_unsupported) {
    guest_.vcpus.front().valid = 0;
    const auto registers = memory_.registers(0);
    ASSERT_FALSE(registers);
    EXPECT_EQ(registers.error().error, Error::unsupported);
}

TEST_F(MemoryTest, a_read_beyond_the_bound_of_one_operation_is_split) {
    const auto expected = fill(0x1003, 3'000'001);
    std::vector<std::uint8_t> bytes(expected.size());
    ASSERT_TRUE(memory_.read(kPhysical, 0x1003, bytes));
    EXPECT_EQ(bytes, expected);
    EXPECT_EQ(memory_.exchanges(), 3u);
}

TEST_F(MemoryTest, many_small_reads_share_an_exchange) {
    const auto expected = fill(0x2000, 8000);
    std::vector<std::uint8_t> bytes(expected.size());
    std::vector<ReadItem> items;
    for (std::size_t i = 0; i < bytes.size(); i += 8)
        items.push_back(
            {.space = kPhysical, .address = 0x2000 + i, .out = MutableBytes{bytes}.subspan(i, 8)});
    ASSERT_TRUE(memory_.read_each(items));
    EXPECT_EQ(bytes, expected);
    EXPECT_EQ(memory_.exchanges(), 1u);
}

TEST_F(MemoryTest, a_fault_is_told_by_its_item_and_the_others_are_read) {
    guest_.map_new(0xffff'8000'0000'0000, 4096);
    guest_.map_new(0xffff'8000'0000'2000, 4096);
    std::array<std::array<std::uint8_t, 8192>, 3> buffers{};
    std::array<ReadItem, 3> items{
        ReadItem{.space = space_, .address = 0xffff'8000'0000'0800, .out = buffers[0]},
        ReadItem{.space = space_, .address = 0xffff'8000'0000'1000, .out = buffers[1]},
        ReadItem{.space = space_,
                 .address = 0xffff'8000'0000'2000,
                 .out = MutableBytes{buffers[2]}.first(4096)}};
    ASSERT_TRUE(memory_.read_each(items));
    EXPECT_EQ(items[0].got, 2048u);
    EXPECT_EQ(items[0].fault.address, 0xffff'8000'0000'1000u);
    EXPECT_EQ(items[0].fault.kind, wire::FaultKind::not_present);
    EXPECT_EQ(items[1].got, 0u);
    EXPECT_EQ(items[2].got, 4096u);
    EXPECT_EQ(items[2].fault.kind, wire::FaultKind::none);
}

TEST_F(MemoryTest, a_failed_read_says_which_address_stopped_it) {
    std::array<std::uint8_t, 8> bytes{};
    const auto done = memory_.read(space_, 0xffff'8000'0000'0000, bytes);
    ASSERT_FALSE(done);
    EXPECT_EQ(describe(done.error()),
              "an address could not be read: 0xffff800000000000 is not present at level 4");
}

TEST_F(MemoryTest, a_large_item_that_faults_does_not_keep_the_next_from_being_read) {
    for (std::uint64_t page = 0; page < 200; ++page)
        guest_.map_new(0xffff'8000'0000'0000 + page * 4096, 4096);
    std::vector<std::uint8_t> large(4u << 20);
    std::array<std::uint8_t, 16> small{};
    std::array<ReadItem, 2> items{
        ReadItem{.space = space_, .address = 0xffff'8000'0000'0000, .out = large},
        ReadItem{.space = kPhysical, .address = 0x1000, .out = small}};
    ASSERT_TRUE(memory_.read_each(items));
    EXPECT_EQ(items[0].got, 200u * 4096);
    EXPECT_EQ(items[1].got, small.size());
}

TEST_F(MemoryTest, a_search_finds_all_matches_in_order_and_stops_at_its_bound) {
    constexpr std::array<std::uint8_t, 4> kPattern{'F', 'I', 'N', 'D'};
    for (std::uint64_t page = 0x10; page < 0x20; ++page)
        guest_.write(page * 4096, kPattern);
    const auto all = memory_.search(
        {.pattern = kPattern, .alignment = 4096, .start = 0, .end = 1u << 20, .max_matches = 100});
    ASSERT_TRUE(all);
    EXPECT_TRUE(all->complete);
    EXPECT_EQ(all->addresses.size(), 16u);
    const auto some = memory_.search(
        {.pattern = kPattern, .alignment = 4096, .start = 0, .end = 1u << 20, .max_matches = 5});
    ASSERT_TRUE(some);
    EXPECT_FALSE(some->complete);
    EXPECT_EQ(some->addresses,
              std::vector<std::uint64_t>(all->addresses.begin(), all->addresses.begin() + 5));
}

class WalkTest : public MemoryTest {
  protected:
    static constexpr std::uint64_t kBase = 0xffff'8000'0000'0000;
    const std::array<wire::FieldPath, 1> fields_{
        wire::FieldPath{.size = 256, .hop_count = 0, .offsets = {}, .reserved = 0}};

    std::vector<std::uint64_t> make_list(std::size_t count, std::uint64_t stride) {
        guest_.map_new(kBase, count * stride);
        std::vector<std::uint64_t> links(count);
        for (std::size_t i = 0; i < count; ++i)
            links[i] = kBase + i * stride;
        guest_.link(links, links.front());
        return links;
    }
    WalkPlan plan(std::uint32_t max_nodes) {
        return {.space = space_,
                .first = kBase,
                .head = kBase,
                .link_offset = 0,
                .next_offset = 0,
                .shape = wire::ListShape::circular,
                .fields = fields_,
                .max_nodes = max_nodes,
                .consistency = Consistency::live};
    }
};

TEST_F(WalkTest, a_list_that_does_not_fit_one_answer_is_continued) {
    make_list(8000, 16);
    const auto walk = memory_.walk(plan(10'000));
    ASSERT_TRUE(walk);
    EXPECT_EQ(walk->stop, wire::WalkStop::end);
    ASSERT_EQ(walk->node_count, 8000u);
    EXPECT_GT(memory_.exchanges(), 1u);
    for (std::uint32_t i = 0; i < walk->node_count; ++i)
        ASSERT_EQ(Reader{walk->row(i)}.take<wire::WalkRow>()->node, kBase + i * 16u);
}

TEST_F(WalkTest, a_list_beyond_the_bound_says_so) {
    make_list(100, 16);
    const auto walk = memory_.walk(plan(99));
    ASSERT_TRUE(walk);
    EXPECT_EQ(walk->stop, wire::WalkStop::bound);
    EXPECT_EQ(walk->node_count, 99u);
    const auto exact = memory_.walk(plan(100));
    ASSERT_TRUE(exact);
    EXPECT_EQ(exact->node_count, 100u);
}

TEST_F(WalkTest, a_circle_without_the_head_and_a_broken_link_are_told_apart) {
    const auto links = make_list(100, 64);
    guest_.write_virtual_u64(links[70], links[20]);
    auto walk = memory_.walk(plan(1000));
    ASSERT_TRUE(walk);
    EXPECT_EQ(walk->stop, wire::WalkStop::cycle);
    guest_.write_virtual_u64(links[70], 0xffff'9000'0000'0000);
    walk = memory_.walk(plan(1000));
    ASSERT_TRUE(walk);
    EXPECT_EQ(walk->stop, wire::WalkStop::fault);
    EXPECT_EQ(walk->fault.address, 0xffff'9000'0000'0000u);
}

TEST_F(WalkTest, a_walk_of_held_processors_holds_them) {
    make_list(3, 64);
    WalkPlan held = plan(10);
    held.consistency = Consistency::held;
    ASSERT_TRUE(memory_.walk(held));
    EXPECT_EQ(guest_.holds, 1);
    EXPECT_EQ(guest_.releases, 1);
}

TEST(MemoryFailures, a_transport_error_is_told_as_such_and_remembered) {
    ScriptedTransport transport{[](Bytes) { return std::unexpected{TransportError::refused}; }};
    Memory memory{transport};
    const auto description = memory.describe();
    ASSERT_FALSE(description);
    EXPECT_EQ(description.error().error, Error::refused);
    ASSERT_TRUE(memory.lost());
    EXPECT_EQ(memory.lost()->error, Error::refused);
}

// What every call makes of an answer, so that the properties below hold for all of them.
void call_everything(Memory& memory, AddressSpace space) {
    static_cast<void>(memory.describe());
    static_cast<void>(memory.registers(0));
    std::vector<std::uint8_t> bytes(1'500'000);
    static_cast<void>(memory.read(space, 0xffff'8000'0000'0000, bytes));
    const std::array<std::uint8_t, 3> pattern{1, 2, 3};
    static_cast<void>(memory.search(
        {.pattern = pattern, .alignment = 1, .start = 0, .end = 1u << 20, .max_matches = 10}));
    const std::array<wire::FieldPath, 1> fields{
        wire::FieldPath{.size = 7, .hop_count = 0, .offsets = {}, .reserved = 0}};
    static_cast<void>(memory.walk({.space = space,
                                   .first = 0xffff'8000'0000'0000,
                                   .head = 0xffff'8000'0000'0000,
                                   .link_offset = 0,
                                   .next_offset = 0,
                                   .shape = wire::ListShape::circular,
                                   .fields = fields,
                                   .max_nodes = 100,
                                   .consistency = Consistency::live}));
}

TEST(MemoryFailures, random_answers_are_refused) {
    std::mt19937_64 random{7};
    for (int i = 0; i < 300; ++i) {
        ScriptedTransport transport{[&](Bytes) {
            std::vector<std::uint8_t> answer(random() % 300);
            for (std::uint8_t& byte : answer)
                byte = static_cast<std::uint8_t>(random() % 4 == 0 ? random() : 0);
            return answer;
        }};
        Memory memory{transport};
        EXPECT_FALSE(memory.describe());
        call_everything(memory, {.root = 0x1000, .paging = wire::Paging::four_level});
    }
}

TEST_F(WalkTest, an_answer_with_any_byte_changed_or_cut_does_no_harm) {
    make_list(20, 64);
    std::mt19937_64 random{11};
    for (int i = 0; i < 400; ++i) {
        TamperedTransport tampered{
            transport_, [&](std::vector<std::uint8_t>& answer) {
                if (random() % 4 == 0) answer.resize(random() % answer.size());
                if (!answer.empty())
                    answer[random() % std::min<std::size_t>(answer.size(), 160)] =
                        static_cast<std::uint8_t>(random());
            }};
        Memory memory{tampered};
        call_everything(memory, space_);
    }
}

TEST(MemoryFailures, an_answer_to_another_question_is_refused) {
    SyntheticGuest guest{1u << 20};
    SyntheticPort port{{&guest}};
    DirectTransport direct{port, guest};
    // Of the right form, but the answer to `describe`.
    ScriptedTransport transport{
        [&](Bytes) -> std::expected<std::vector<std::uint8_t>, TransportError> {
            const auto answer =
                direct.exchange(hypervisor::testing::BatchBuilder{}.describe().bytes());
            return std::vector<std::uint8_t>(answer->begin(), answer->end());
        }};
    Memory memory{transport};
    EXPECT_TRUE(memory.describe());
    const auto registers = memory.registers(0);
    ASSERT_FALSE(registers);
    EXPECT_EQ(registers.error().error, Error::malformed_answer);
}

TEST(MemoryFailures, a_hypervisor_that_defers_for_ever_is_given_up) {
    ScriptedTransport transport{[](Bytes batch) {
        Reader reader{batch};
        const auto header = reader.take<wire::BatchHeader>();
        std::vector<std::uint8_t> answer(sizeof(wire::BatchAnswer) +
                                         header->count * sizeof(wire::OpAnswer));
        Writer writer{answer};
        writer.put(wire::BatchAnswer{
            .hypervisor_clock = 1, .held_ns = 0, .count = header->count, .flags = 0});
        for (std::uint32_t i = 0; i < header->count; ++i) {
            const auto call = reader.take<wire::OpCall>();
            static_cast<void>(reader.take_bytes(align8(call->size)));
            writer.put(
                wire::OpAnswer{.op = call->op,
                               .status = static_cast<std::uint16_t>(wire::OpStatus::deferred),
                               .size = 0});
        }
        return answer;
    }};
    Memory memory{transport};
    call_everything(memory, {.root = 0x1000, .paging = wire::Paging::four_level});
    std::array<std::uint8_t, 8> bytes{};
    const auto done = memory.read(kPhysical, 0, bytes);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().error, Error::malformed_answer);
}

}  // namespace
}  // namespace sgm::guest
