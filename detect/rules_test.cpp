// SPDX-License-Identifier: MIT
#include "detect/rules.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>

#include "wire/fixed_text.hpp"

namespace sgm::detect {
namespace {

wire::Rule rule(wire::RuleAction action, std::uint32_t match, std::string_view comm,
                std::uint32_t uid, std::string_view name) {
    wire::Rule rule{};
    rule.action = action;
    rule.match = match;
    rule.uid = uid;
    wire::set_text(rule.comm, comm);
    wire::set_text(rule.name, name);
    return rule;
}

std::vector<std::uint8_t> payload(const std::vector<wire::Rule>& rules, std::uint64_t version = 1) {
    std::vector<std::uint8_t> bytes(sizeof(wire::Rules) + rules.size() * sizeof(wire::Rule));
    Writer writer{bytes};
    writer.put(wire::Rules{
        .version = version, .count = static_cast<std::uint32_t>(rules.size()), .reserved = 0});
    for (const wire::Rule& each : rules)
        writer.put(each);
    return bytes;
}

std::array<char, 16> comm(std::string_view name) {
    std::array<char, 16> comm{};
    wire::set_text(comm, name);
    return comm;
}

const wire::Rule kAllowRoot =
    rule(wire::RuleAction::allow, wire::kMatchComm | wire::kMatchUid, "nc", 0, "root may");
const wire::Rule kDenyNc = rule(wire::RuleAction::deny, wire::kMatchComm, "nc", 0, "no netcat");
const wire::Rule kDenyUser = rule(wire::RuleAction::deny, wire::kMatchUid, "", 65534, "nobody");

TEST(Rules, the_first_rule_that_matches_decides) {
    const auto rules = parse_rules(payload({kAllowRoot, kDenyNc, kDenyUser}, 7));
    ASSERT_TRUE(rules);
    EXPECT_EQ(rules->version, 7u);
    EXPECT_EQ(forbidding_rule(*rules, comm("nc"), 0), nullptr);
    ASSERT_NE(forbidding_rule(*rules, comm("nc"), 1000), nullptr);
    EXPECT_EQ(wire::get_text(forbidding_rule(*rules, comm("nc"), 1000)->name), "no netcat");
    EXPECT_EQ(wire::get_text(forbidding_rule(*rules, comm("sh"), 65534)->name), "nobody");
    EXPECT_EQ(forbidding_rule(*rules, comm("ncat"), 1000), nullptr);
    EXPECT_EQ(forbidding_rule(*rules, comm(""), 0), nullptr);
}

TEST(Rules, no_rules_forbid_nothing) {
    const auto rules = parse_rules(payload({}));
    ASSERT_TRUE(rules);
    EXPECT_EQ(forbidding_rule(*rules, comm("nc"), 0), nullptr);
}

TEST(Rules, a_payload_of_another_size_than_it_says_is_refused) {
    const auto whole = payload({kDenyNc, kDenyUser});
    for (std::size_t size = 0; size < whole.size(); ++size)
        EXPECT_EQ(parse_rules(Bytes{whole}.first(size)).error(), RulesError::bad_size);
    auto longer = whole;
    longer.push_back(0);
    EXPECT_EQ(parse_rules(longer).error(), RulesError::bad_size);
    EXPECT_EQ(parse_rules(payload(std::vector<wire::Rule>(257, kDenyNc))).error(),
              RulesError::too_many);
    EXPECT_TRUE(parse_rules(payload(std::vector<wire::Rule>(256, kDenyNc))));
}

TEST(Rules, a_rule_that_is_not_well_formed_is_refused) {
    const auto error = [](auto change) {
        wire::Rule bad = kDenyNc;
        change(bad);
        const auto rules = parse_rules(payload({kAllowRoot, bad}));
        EXPECT_FALSE(rules);
        return rules ? RulesError::too_many : rules.error();
    };
    using wire::Rule;
    EXPECT_EQ(error([](Rule& r) { r.action = wire::RuleAction{3}; }), RulesError::bad_action);
    EXPECT_EQ(error([](Rule& r) { r.match = 0; }), RulesError::bad_match);
    EXPECT_EQ(error([](Rule& r) { r.match = 4 | wire::kMatchComm; }), RulesError::bad_match);
    EXPECT_EQ(error([](Rule& r) { r.comm.fill('x'); }), RulesError::bad_comm);
    EXPECT_EQ(error([](Rule& r) { r.comm[9] = 'x'; }), RulesError::bad_comm);
    EXPECT_EQ(error([](Rule& r) { r.match = wire::kMatchUid; }), RulesError::bad_comm);
    EXPECT_EQ(error([](Rule& r) { r.uid = 5; }), RulesError::bad_uid);
    EXPECT_EQ(error([](Rule& r) { r.name = {}; }), RulesError::bad_name);
    EXPECT_EQ(error([](Rule& r) { r.name.fill('n'); }), RulesError::bad_name);
    EXPECT_EQ(error([](Rule& r) { r.name.back() = 'n'; }), RulesError::bad_name);
    EXPECT_EQ(error([](Rule& r) { r.reserved = 1; }), RulesError::bad_reserved);
    EXPECT_EQ(parse_rules(payload({kDenyNc}, 0)).error(), RulesError::bad_version);
}

TEST(Rules, any_bytes_give_rules_or_an_error) {
    const auto good = payload({kAllowRoot, kDenyNc, kDenyUser});
    std::mt19937_64 random{1};
    for (int i = 0; i < 20'000; ++i) {
        auto bytes = good;
        for (int change = 0; change < 2; ++change)
            bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
        if (const auto rules = parse_rules(bytes); rules) {
            EXPECT_EQ(rules->rules.size(), 3u);
            static_cast<void>(forbidding_rule(*rules, comm("nc"), 5));
        }
    }
}

}  // namespace
}  // namespace sgm::detect
