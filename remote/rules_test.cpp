// SPDX-License-Identifier: MIT
#include "remote/rules.hpp"

#include <gtest/gtest.h>

#include "config/temporary_directory.hpp"
#include "wire/bytes.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::remote {
namespace {

class RulesFile : public testing::Test {
  protected:
    [[nodiscard]] config::Result<RuleSet> load(const std::string& text) const {
        return load_rules(dir_.write("rules.toml", text));
    }
    [[nodiscard]] std::string refusal(const std::string& text) const {
        const auto rules = load(text);
        const auto path_size = (dir_ / "rules.toml").string().size();
        return rules ? "" : rules.error().sentence.substr(path_size);
    }
    const config::TemporaryDirectory dir_;
};

TEST_F(RulesFile, rules_come_back_in_their_order) {
    const auto rules = load(R"(version = 3
[[rule]]
name = "root may"
action = "allow"
comm = "nc"
uid = 0
[[rule]]
name = "no nc"
action = "deny"
comm = "nc"
[[rule]]
name = "not this user"
action = "deny"
uid = 4294967294
)");
    ASSERT_TRUE(rules) << rules.error().sentence;
    EXPECT_EQ(rules->version, 3u);
    ASSERT_EQ(rules->rules.size(), 3u);
    EXPECT_EQ(rules->rules[0].action, wire::RuleAction::allow);
    EXPECT_EQ(rules->rules[0].match, wire::kMatchComm | wire::kMatchUid);
    EXPECT_EQ(wire::get_text(rules->rules[0].comm), "nc");
    EXPECT_EQ(rules->rules[1].action, wire::RuleAction::deny);
    EXPECT_EQ(rules->rules[1].match, std::uint32_t{wire::kMatchComm});
    EXPECT_EQ(wire::get_text(rules->rules[1].name), "no nc");
    EXPECT_EQ(rules->rules[2].match, std::uint32_t{wire::kMatchUid});
    EXPECT_EQ(rules->rules[2].uid, 4294967294u);
    EXPECT_EQ(wire::get_text(rules->rules[2].comm), "");
}

TEST_F(RulesFile, the_payload_is_the_header_and_the_rules) {
    const auto rules = load("version = 9\n[[rule]]\nname = \"a\"\naction = \"deny\"\nuid = 5\n");
    const auto payload = rules->payload();
    Reader reader{payload};
    const auto header = reader.take<wire::Rules>();
    ASSERT_TRUE(header);
    EXPECT_EQ(header->version, 9u);
    EXPECT_EQ(header->count, 1u);
    EXPECT_EQ(reader.take<wire::Rule>()->uid, 5u);
    EXPECT_TRUE(reader.empty());
}

TEST_F(RulesFile, the_example_is_sound) {
    const auto rules = load(example_rules());
    ASSERT_TRUE(rules) << rules.error().sentence;
    EXPECT_EQ(rules->version, 1u);
    EXPECT_TRUE(rules->rules.empty());
}

TEST_F(RulesFile, what_is_wrong_is_told_with_its_line) {
    const std::string rule = "version = 1\n[[rule]]\nname = \"a\"\naction = \"deny\"\n";
    EXPECT_EQ(refusal(rule + "comm = \"fifteen-bytes-x\"\n"), "");
    EXPECT_EQ(refusal(rule + "comm = \"sixteen-bytes-xx\"\n"),
              ":5: 'comm' may have at most 15 bytes");
    EXPECT_EQ(refusal(rule + "comm = \"a\\u0000b\"\n"), ":5: 'comm' may not contain a zero byte");
    EXPECT_EQ(refusal(rule + "comm = \"\"\n"), ":5: 'comm' must not be empty");
    EXPECT_EQ(refusal(rule), ":2: [[rule]] needs 'comm', 'uid' or both");
    EXPECT_EQ(refusal(rule + "uid = 4294967295\n"), ":5: 'uid' must be between 0 and 4294967294");
    EXPECT_EQ(refusal(rule + "uid = -1\n"), ":5: 'uid' must be between 0 and 4294967294");
    EXPECT_EQ(refusal(rule + "uid = \"root\"\n"), ":5: 'uid' must be a whole number");
    EXPECT_EQ(refusal(rule + "user = 1\n"), ":5: unknown key 'user'");
    EXPECT_EQ(refusal("version = 1\n[[rule]]\nname = \"a\"\naction = \"kill\"\nuid = 1\n"),
              ":4: 'action' must be \"deny\" or \"allow\"");
    EXPECT_EQ(refusal("version = 1\n[[rule]]\naction = \"deny\"\nuid = 1\n"),
              ":2: 'name' is missing");
    EXPECT_EQ(refusal(rule + "uid = 1\n[[rule]]\nname = \"a\"\naction = \"deny\"\nuid = 2\n"),
              ":7: another rule has this name already");
    EXPECT_EQ(refusal("[[rule]]\nname = \"a\"\naction = \"deny\"\nuid = 1\n"),
              ":1: 'version' is missing");
    EXPECT_EQ(refusal("version = 0\n"), ":1: 'version' must be between 1 and 9223372036854775807");
    EXPECT_EQ(refusal("rule = 1\nversion = 1\n"), ":1: 'rule' must be tables: [[rule]]");
}

TEST_F(RulesFile, there_is_a_bound_on_how_many) {
    std::string text = "version = 1\n";
    for (std::uint32_t i = 0; i < wire::kMaxRules; ++i) {
        text += "[[rule]]\nname = \"r" + std::to_string(i) + "\"\naction = \"deny\"\nuid = 1\n";
    }
    EXPECT_EQ(refusal(text), "");
    text += "[[rule]]\nname = \"one more\"\naction = \"deny\"\nuid = 1\n";
    EXPECT_EQ(refusal(text), ":1026: more than 256 rules");
}

}  // namespace
}  // namespace sgm::remote
