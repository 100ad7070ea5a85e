// SPDX-License-Identifier: MIT
// Several processes that share the cases, so that one that crashes or hangs is an outcome and not
// the end.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/relay/attack.hpp"
#include "tests/relay/suite.hpp"

namespace sgm::relay {

struct Counts {
    std::uint64_t cases = 0;
    std::array<std::uint64_t, kOutcomeCount> outcomes{};
    std::uint64_t ended = 0;
    std::uint64_t recovered = 0;  // all but those with a violation
    std::uint64_t told = 0;
};

struct Violation {
    std::string name;
    std::string what;
};

struct Tally {
    std::array<Counts, kAttackCount> attacks{};
    std::vector<Violation> violations;  // the first of them

    [[nodiscard]] Counts all() const;
};

// Shows progress on stderr. With `wanted`, only a violation that says so counts, and the first one
// is the end.
[[nodiscard]] Tally run_all(Suite& suite, std::span<const Case> cases, std::uint32_t jobs,
                            std::string_view wanted);

}  // namespace sgm::relay
