// SPDX-License-Identifier: MIT
// The owner's rules about processes. They come over the network, signed by the owner; the parser
// trusts nothing all the same. Which version replaces which is decided by whoever receives them.
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"
#include "wire/owner.hpp"

namespace sgm::detect {

enum class RulesError {
    bad_size,      // not the size that the count says
    too_many,      // more than wire::kMaxRules
    bad_version,   // 0, which means "none"
    bad_action,    // neither deny nor allow
    bad_match,     // matches by nothing, or by something unknown
    bad_comm,      // longer than 15 bytes, not zero padded, or given without being matched
    bad_uid,       // given without being matched
    bad_name,      // empty, longer than 63 bytes, or not zero padded
    bad_reserved,  // a field that must be 0 is not
};
[[nodiscard]] std::string_view text(RulesError error);

struct Rules {
    std::uint64_t version = 0;      // 0: none yet
    std::vector<wire::Rule> rules;  // at most wire::kMaxRules; the first that matches decides
};

// `payload`: wire::Rules and its rules, nothing behind.
[[nodiscard]] std::expected<Rules, RulesError> parse_rules(Bytes payload);

// The rule that forbids such a process; nullptr when it is allowed. Valid as long as `rules`.
[[nodiscard]] const wire::Rule* forbidding_rule(const Rules& rules,
                                                const std::array<char, 16>& comm,
                                                std::uint32_t uid);

}  // namespace sgm::detect
