// SPDX-License-Identifier: MIT
// What a third party's program gets, and from whom.
#include "ids/program.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "ids/testing/world.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::ids {
namespace {

using testing::Message;
using testing::World;
using wire::EnclaveResult;

class ProgramTest : public ::testing::Test {
  protected:
    std::expected<std::unique_ptr<Program>, EnclaveResult> start() {
        return Program::start(world_, world_.authority.public_key(), world_.domain(), 1000);
    }
    void ask(std::uint64_t id) {
        const wire::Query query{.id = id, .kind = wire::QueryKind::processes, .reserved = 0};
        world_.command(wire::OwnerKind::query, bytes_of(query));
    }
    World world_;
};

TEST_F(ProgramTest, the_owner_asks_and_gets_the_rows) {
    const auto program = start();
    ASSERT_TRUE(program.has_value());
    ask(7);
    const auto query = (*program)->next_query();
    ASSERT_TRUE(query.has_value());
    EXPECT_EQ(query->id, 7u);
    (*program)->answer(*query, std::vector<wire::ProcessRow>(3));
    const auto answer = Reader{world_.owner_got.back().payload}.take<wire::Answer>().value();
    EXPECT_EQ(answer.query, 7u);
    EXPECT_EQ(answer.status, wire::AnswerStatus::ok);
    EXPECT_EQ(answer.row_count, 3u);
}

TEST_F(ProgramTest, a_list_that_cannot_be_read_is_told_with_its_reason) {
    const auto program = start();
    ASSERT_TRUE(program.has_value());
    (*program)->answer({.id = 1, .kind = wire::QueryKind::processes, .reserved = 0},
                       std::unexpected("no kernel"));
    const auto answer = Reader{world_.owner_got.back().payload}.take<wire::Answer>().value();
    EXPECT_EQ(answer.status, wire::AnswerStatus::not_ready);
    EXPECT_EQ(wire::get_text(answer.reason), "no kernel");
    EXPECT_EQ(answer.row_count, 0u);
}

TEST_F(ProgramTest, one_that_the_authority_does_not_approve_is_told_so_and_gets_nothing) {
    world_.refusal = "MRENCLAVE 00 is not approved";
    world_.waits_left = 3;
    const auto program = start();
    ASSERT_FALSE(program.has_value());
    EXPECT_EQ(program.error(), EnclaveResult::stopped);
    EXPECT_TRUE(world_.owner_got.empty());
    EXPECT_NE(world_.log_lines.back().find("is not approved"), std::string::npos);
}

TEST_F(ProgramTest, it_beats_in_one_chain_and_repeats_the_owners_challenge_while_nobody_asks) {
    const auto program = start();
    ASSERT_TRUE(program.has_value());
    world_.command(wire::OwnerKind::challenge, bytes_of(wire::Challenge{.nonce = {9}}));
    world_.waits_left = 4;
    world_.guest.current_protection = wire::Protection::protected_domain;
    EXPECT_EQ((*program)->next_query().error(), EnclaveResult::stopped);
    const auto beats = world_.beats();
    ASSERT_GE(beats.size(), 4u);
    EXPECT_EQ(beats.front().protection, wire::Protection::unprotected);
    EXPECT_EQ(beats.back().protection, wire::Protection::protected_domain);
    EXPECT_EQ(beats.back().remote_nonce[0], 9);
    EXPECT_TRUE(std::ranges::is_sorted(beats, {}, &wire::Heartbeat::beat));
}

TEST_F(ProgramTest, after_a_changed_answer_it_registers_anew_and_says_so) {
    const auto program = start();
    ASSERT_TRUE(program.has_value());
    world_.on_reply = [this](Message& reply) {
        reply.back() ^= 1;
        world_.on_reply = [](Message&) {};
    };
    world_.waits_left = 2;
    EXPECT_EQ((*program)->next_query().error(), EnclaveResult::stopped);
    EXPECT_EQ(world_.beats().back().registrations, 2u);
    EXPECT_EQ(world_.beats().back().refused_answers, 1u);
}

TEST_F(ProgramTest, a_session_whose_lifetime_nears_its_end_is_renewed) {
    world_.lifetime_seconds = 4;
    const auto program = start();
    ASSERT_TRUE(program.has_value());
    world_.waits_left = 6;
    EXPECT_EQ((*program)->next_query().error(), EnclaveResult::stopped);
    EXPECT_GE(world_.beats().back().registrations, 3u);
    EXPECT_EQ(world_.beats().back().refused_answers, 0u);
}

}  // namespace
}  // namespace sgm::ids
