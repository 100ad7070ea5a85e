// SPDX-License-Identifier: MIT
// What a relay can do to a conversation, one case at a time. A message is one frame in either
// direction between enclave and hypervisor; calls have even numbers, the reply to call n is n + 1.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sgm::relay {

enum class Attack : std::uint32_t {
    flip,           // bit `detail` of `message`
    cut,            // `message` to `detail` bytes
    extend,         // `message` by `detail` bytes
    drop,           // `message`
    duplicate,      // a call is sent twice (detail 0: the second reply goes to the IDS, 1: the
                    // first); a reply comes twice in one frame
    replay,         // `message` again in place of `later`, or (detail 1) before it
    reflect,        // the same with a message of the other direction
    reorder,        // `message` is kept back and goes after `later`
    other_session,  // in place of `message` its counterpart from another session of the VM;
                    // detail 1: not yet delivered
    other_domain,   // the same from a session of another VM
    older_epoch,    // the same from a session before a reset of the VM
    made_up,        // `message`, a reply, says no in the clear: status `detail`
};
inline constexpr std::size_t kAttackCount = 12;

[[nodiscard]] std::string_view text(Attack attack);

struct Case {
    Attack attack;
    std::uint32_t message;
    std::uint32_t later;
    std::uint32_t detail;
};

// "flip:12:0:345"
[[nodiscard]] std::string name(const Case& one);
[[nodiscard]] std::optional<Case> parse_case(std::string_view text);

// Every case for a conversation of messages of these sizes, in bytes.
[[nodiscard]] std::vector<Case> all_cases(std::span<const std::size_t> sizes);

}  // namespace sgm::relay
