// SPDX-License-Identifier: MIT
#include "remote/commands.hpp"

#include <gtest/gtest.h>

#include "remote/testing.hpp"

namespace sgm::remote {
namespace {

TEST(Commands, only_the_newest_challenge_and_rules_are_told) {
    Commands commands;
    commands.set_challenge(filled<32>(1));
    commands.set_challenge(filled<32>(2));
    commands.set_rules({1});
    commands.set_rules({2});
    EXPECT_EQ(commands.take()->payload, std::vector<std::uint8_t>{2});
    const auto challenge = commands.take();
    EXPECT_EQ(challenge->kind, wire::OwnerKind::challenge);
    EXPECT_EQ(challenge->payload, std::vector<std::uint8_t>(32, 2));
    EXPECT_FALSE(commands.take());
}

TEST(Commands, queries_are_told_in_order_and_are_bounded) {
    Commands commands;
    commands.set_challenge(filled<32>(1));
    const auto query = [](std::uint64_t id) {
        return wire::Query{.id = id, .kind = wire::QueryKind::processes, .reserved = 0};
    };
    for (std::uint64_t id = 0; id < kMaxPendingQueries; ++id) {
        EXPECT_TRUE(commands.add_query(query(id)));
    }
    EXPECT_FALSE(commands.add_query(query(99)));
    for (std::uint64_t id = 0; id < kMaxPendingQueries; ++id) {
        const auto command = commands.take();
        EXPECT_EQ(command->kind, wire::OwnerKind::query);
        EXPECT_EQ(Reader{command->payload}.take<wire::Query>()->id, id);
    }
    EXPECT_EQ(commands.take()->kind, wire::OwnerKind::challenge);
}

}  // namespace
}  // namespace sgm::remote
