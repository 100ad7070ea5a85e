// SPDX-License-Identifier: MIT
// The owner's rules: rules.toml, and what is sent of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "config/error.hpp"
#include "wire/owner.hpp"

namespace sgm::remote {

struct RuleSet {
    std::uint64_t version = 0;  // grows with each change; an IDS takes none below the one it has
    std::vector<wire::Rule> rules = {};

    // Rules and its Rule[], as they are sent.
    [[nodiscard]] std::vector<std::uint8_t> payload() const;
};

[[nodiscard]] config::Result<RuleSet> load_rules(const std::filesystem::path& path);

// A commented example, for `init`.
[[nodiscard]] std::string example_rules();

}  // namespace sgm::remote
