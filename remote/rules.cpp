// SPDX-License-Identifier: MIT
#include "remote/rules.hpp"

#include <algorithm>
#include <limits>

#include "config/toml_file.hpp"
#include "wire/bytes.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::remote {
namespace {

// Into a zero-padded field that keeps its last byte zero.
template <std::size_t N>
void read_text(config::Table& table, std::string_view key, std::array<char, N>& field) {
    const std::string text = table.string(key);
    if (text.size() >= N) {
        table.refuse(
            key, "'" + std::string{key} + "' may have at most " + std::to_string(N - 1) + " bytes");
    } else if (text.find('\0') != std::string::npos) {
        table.refuse(key, "'" + std::string{key} + "' may not contain a zero byte");
    }
    wire::set_text(field, text);
}

wire::Rule read_rule(config::Table& table) {
    wire::Rule rule{};
    read_text(table, "name", rule.name);
    const std::string action = table.string("action");
    if (action == "deny") {
        rule.action = wire::RuleAction::deny;
    } else if (action == "allow") {
        rule.action = wire::RuleAction::allow;
    } else {
        table.refuse("action", "'action' must be \"deny\" or \"allow\"");
    }
    if (table.has("comm")) {
        rule.match |= wire::kMatchComm;
        read_text(table, "comm", rule.comm);
    }
    if (table.has("uid")) {
        rule.match |= wire::kMatchUid;
        rule.uid = table.integer<std::uint32_t>("uid", 0, std::numeric_limits<uid_t>::max() - 1);
    }
    if (rule.match == 0) table.refuse("", "[[rule]] needs 'comm', 'uid' or both");
    return rule;
}

}  // namespace

std::vector<std::uint8_t> RuleSet::payload() const {
    std::vector<std::uint8_t> bytes(sizeof(wire::Rules) + rules.size() * sizeof(wire::Rule));
    Writer writer{bytes};
    writer.put(wire::Rules{
        .version = version, .count = static_cast<std::uint32_t>(rules.size()), .reserved = 0});
    for (const wire::Rule& rule : rules)
        writer.put(rule);
    return bytes;
}

config::Result<RuleSet> load_rules(const std::filesystem::path& path) {
    auto file = config::TomlFile::open(path);
    if (!file) return std::unexpected{file.error()};
    config::Table root = file->root();
    RuleSet set;
    set.version = static_cast<std::uint64_t>(
        root.integer<std::int64_t>("version", 1, std::numeric_limits<std::int64_t>::max()));
    for (config::Table& table : root.tables("rule")) {
        const wire::Rule rule = read_rule(table);
        if (set.rules.size() == wire::kMaxRules) {
            table.refuse("", "more than " + std::to_string(wire::kMaxRules) + " rules");
            break;
        }
        if (std::ranges::count(set.rules, rule.name, &wire::Rule::name) != 0) {
            table.refuse("name", "another rule has this name already");
        }
        set.rules.push_back(rule);
    }
    if (auto sound = file->finish(); !sound) return std::unexpected{sound.error()};
    return set;
}

std::string example_rules() {
    return R"(# Which programs may run in the VM. The IDS holds every process against these rules at each scan;
# what they deny is a finding, raised when it is seen and cleared when the process is gone.
# `sgmonitor remote rules check` tells whether this file is sound. Start the remote again after a
# change: the rules travel signed and sealed to the IDS, and heartbeats say which version it has.

# Raise it with each change: an IDS takes no version below the one it has, so that nobody in between
# can bring old rules back.
version = 1

# The first rule that matches a process decides; no match means allowed. A rule matches when all
# that it names agree: `comm`, the name that the kernel shows (at most 15 bytes), `uid`, the real
# user id, or both.
#
# [[rule]]
# name = "root may use nc"
# action = "allow"
# comm = "nc"
# uid = 0
#
# [[rule]]
# name = "no nc"
# action = "deny"
# comm = "nc"
)";
}

}  // namespace sgm::remote
