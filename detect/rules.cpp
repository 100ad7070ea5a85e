// SPDX-License-Identifier: MIT
#include "detect/rules.hpp"

#include <algorithm>
#include <optional>

#include "wire/fixed_text.hpp"

namespace sgm::detect {
namespace {

template <std::size_t N>
bool is_zero_padded(const std::array<char, N>& field) {
    const auto end = std::ranges::find(field, '\0');
    return end != field.end() && std::all_of(end, field.end(), [](char c) { return c == '\0'; });
}

std::optional<RulesError> fault_in(const wire::Rule& rule) {
    constexpr std::uint32_t kKnown = wire::kMatchComm | wire::kMatchUid;
    if (rule.action != wire::RuleAction::deny && rule.action != wire::RuleAction::allow)
        return RulesError::bad_action;
    if (rule.match == 0 || (rule.match & ~kKnown) != 0) return RulesError::bad_match;
    if (!is_zero_padded(rule.comm) ||
        ((rule.match & wire::kMatchComm) == 0 && rule.comm.front() != '\0'))
        return RulesError::bad_comm;
    if ((rule.match & wire::kMatchUid) == 0 && rule.uid != 0) return RulesError::bad_uid;
    if (!is_zero_padded(rule.name) || rule.name.front() == '\0') return RulesError::bad_name;
    if (rule.reserved != 0) return RulesError::bad_reserved;
    return std::nullopt;
}

}  // namespace

std::string_view text(RulesError error) {
    switch (error) {
        case RulesError::bad_size: return "the rules' size does not fit their number";
        case RulesError::too_many: return "there are more than 256 rules";
        case RulesError::bad_version: return "the rules' version is 0";
        case RulesError::bad_action: return "a rule neither denies nor allows";
        case RulesError::bad_match: return "a rule matches by nothing, or by something unknown";
        case RulesError::bad_comm: return "a rule's comm is not a name of at most 15 bytes";
        case RulesError::bad_uid: return "a rule has a uid that it does not match by";
        case RulesError::bad_name: return "a rule's name is not 1 to 63 bytes";
        case RulesError::bad_reserved: return "a reserved field of the rules is not 0";
    }
    return "unknown";
}

std::expected<Rules, RulesError> parse_rules(Bytes payload) {
    Reader reader{payload};
    const auto header = reader.take<wire::Rules>();
    if (!header) return std::unexpected{RulesError::bad_size};
    if (header->count > wire::kMaxRules) return std::unexpected{RulesError::too_many};
    if (reader.rest().size() != header->count * sizeof(wire::Rule))
        return std::unexpected{RulesError::bad_size};
    if (header->version == 0) return std::unexpected{RulesError::bad_version};
    if (header->reserved != 0) return std::unexpected{RulesError::bad_reserved};
    Rules rules{.version = header->version, .rules = {}};
    while (const auto rule = reader.take<wire::Rule>()) {
        if (const auto fault = fault_in(*rule)) return std::unexpected{*fault};
        rules.rules.push_back(*rule);
    }
    return rules;
}

const wire::Rule* forbidding_rule(const Rules& rules, const std::array<char, 16>& comm,
                                  std::uint32_t uid) {
    for (const wire::Rule& rule : rules.rules) {
        if ((rule.match & wire::kMatchComm) != 0 && rule.comm != comm) continue;
        if ((rule.match & wire::kMatchUid) != 0 && rule.uid != uid) continue;
        return rule.action == wire::RuleAction::deny ? &rule : nullptr;
    }
    return nullptr;
}

}  // namespace sgm::detect
