// SPDX-License-Identifier: MIT
// Every check has a card, every card a check, and each card answers all questions.
#include <gtest/gtest.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "detect/checks/process_rules.hpp"
#include "wire/owner.hpp"

namespace sgm::detect {
namespace {

std::map<std::string, toml::table> cards() {
    std::map<std::string, toml::table> cards;
    for (const auto& entry : std::filesystem::directory_iterator{SGM_CARDS_DIRECTORY})
        if (entry.path().extension() == ".toml")
            cards[entry.path().stem()] = toml::parse_file(entry.path().string());
    return cards;
}

std::set<std::string> check_ids() {
    const ProcessRules process_rules;
    return {std::string{process_rules.id()}};
}

TEST(Cards, every_check_has_a_card_and_every_card_a_check) {
    std::set<std::string> ids;
    for (const auto& [name, card] : cards())
        EXPECT_TRUE(ids.insert(card["id"].value_or(std::string{})).second) << name;
    EXPECT_EQ(ids, check_ids());
}

TEST(Cards, a_card_is_named_as_its_check_and_answers_every_question) {
    for (const auto& [name, card] : cards()) {
        std::string id = card["id"].value_or(std::string{});
        EXPECT_LT(id.size(), sizeof(wire::CheckCoverage::check)) << name;
        std::ranges::replace(id, '-', '_');
        EXPECT_EQ(id, name);
        for (const char* question :
             {"question", "how", "why", "false_positives", "false_negatives", "cost"})
            EXPECT_FALSE(card[question].value_or(std::string{}).empty())
                << name << ": " << question;
        const std::set<std::string> severities{"info", "warning", "critical"};
        EXPECT_TRUE(severities.contains(card["severity"].value_or(std::string{}))) << name;
        ASSERT_TRUE(card["structures"].is_array()) << name;
        EXPECT_FALSE(card["structures"].as_array()->empty()) << name;
    }
}

bool all_digits(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// "20.0"
bool is_version(std::string_view text) {
    const std::size_t dot = text.find('.');
    return dot != text.npos && all_digits(text.substr(0, dot)) && all_digits(text.substr(dot + 1));
}

// "T1204" or "T1204.002"
bool is_technique(std::string_view text) {
    const bool main = text.size() >= 5 && text[0] == 'T' && all_digits(text.substr(1, 4));
    return main &&
           (text.size() == 5 || (text.size() == 9 && text[5] == '.' && all_digits(text.substr(6))));
}

TEST(Cards, techniques_are_named_with_the_version_they_are_from) {
    for (const auto& [name, card] : cards()) {
        EXPECT_TRUE(is_version(card["attack"]["version"].value_or(std::string{}))) << name;
        const toml::array* techniques = card["attack"]["techniques"].as_array();
        ASSERT_NE(techniques, nullptr) << name;
        EXPECT_FALSE(techniques->empty()) << name;
        for (const auto& each : *techniques)
            EXPECT_TRUE(is_technique(each.value_or(std::string{}))) << name;
    }
}

}  // namespace
}  // namespace sgm::detect
