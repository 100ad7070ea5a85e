// SPDX-License-Identifier: MIT
#include "tests/relay/attack.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace sgm::relay {
namespace {

constexpr std::array<std::string_view, kAttackCount> kNames = {
    "flip",    "cut",     "extend",        "drop",         "duplicate",   "replay",
    "reflect", "reorder", "other_session", "other_domain", "older_epoch", "made_up"};

constexpr std::uint32_t kMaxExtension = 64;
// All that are known (wire/sgm_op.hpp), and one that is not.
constexpr std::uint32_t kLastStatus = 18;

bool is_call(std::size_t message) {
    return message % 2 == 0;
}

void add_changes(std::uint32_t message, std::size_t size, std::vector<Case>& cases) {
    for (std::uint32_t bit = 0; bit < size * 8; ++bit)
        cases.push_back({Attack::flip, message, 0, bit});
    for (std::uint32_t left = 0; left < size; ++left)
        cases.push_back({Attack::cut, message, 0, left});
    for (std::uint32_t more = 1; more <= kMaxExtension; ++more)
        cases.push_back({Attack::extend, message, 0, more});
}

void add_substitutes(std::uint32_t message, std::vector<Case>& cases) {
    for (const Attack attack : {Attack::other_session, Attack::other_domain, Attack::older_epoch}) {
        cases.push_back({attack, message, 0, 0});
        if (is_call(message)) cases.push_back({attack, message, 0, 1});
    }
    if (is_call(message)) return;
    for (std::uint32_t status = 1; status <= kLastStatus; ++status)
        cases.push_back({Attack::made_up, message, 0, status});
}

void add_pair(std::uint32_t message, std::uint32_t later, std::vector<Case>& cases) {
    const Attack again = is_call(message) == is_call(later) ? Attack::replay : Attack::reflect;
    cases.push_back({again, message, later, 0});
    if (is_call(later)) cases.push_back({again, message, later, 1});
    cases.push_back({Attack::reorder, message, later, 0});
}

}  // namespace

std::string_view text(Attack attack) {
    return kNames.at(static_cast<std::size_t>(attack));
}

std::string name(const Case& one) {
    return fmt::format("{}:{}:{}:{}", text(one.attack), one.message, one.later, one.detail);
}

std::optional<Case> parse_case(std::string_view text) {
    const auto attack = std::ranges::find(kNames, text.substr(0, text.find(':')));
    if (attack == kNames.end()) return std::nullopt;
    std::array<std::uint32_t, 3> numbers{};
    text.remove_prefix(attack->size());
    for (std::uint32_t& number : numbers) {
        if (text.empty() || text.front() != ':') return std::nullopt;
        const char* const begin = text.data() + 1;
        const auto [end, error] = std::from_chars(begin, text.data() + text.size(), number);
        if (error != std::errc{}) return std::nullopt;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    }
    if (!text.empty()) return std::nullopt;
    return Case{static_cast<Attack>(attack - kNames.begin()), numbers[0], numbers[1], numbers[2]};
}

std::vector<Case> all_cases(std::span<const std::size_t> sizes) {
    std::vector<Case> cases;
    const auto count = static_cast<std::uint32_t>(sizes.size());
    for (std::uint32_t message = 0; message < count; ++message) {
        add_changes(message, sizes[message], cases);
        cases.push_back({Attack::drop, message, 0, 0});
        cases.push_back({Attack::duplicate, message, 0, 0});
        if (is_call(message)) cases.push_back({Attack::duplicate, message, 0, 1});
        add_substitutes(message, cases);
        for (std::uint32_t later = message + 1; later < count; ++later)
            add_pair(message, later, cases);
    }
    return cases;
}

}  // namespace sgm::relay
