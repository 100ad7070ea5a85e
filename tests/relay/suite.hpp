// SPDX-License-Identifier: MIT
// Carries out one case after the other, and after each checks what must hold: nothing that is
// wrong was believed, nothing came out in the clear, the IDS registered anew and works, and its
// owner was told.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ids/testing/world.hpp"
#include "tests/relay/attack.hpp"
#include "tests/relay/examiner.hpp"
#include "tests/relay/owner.hpp"
#include "tests/relay/relay.hpp"
#include "tests/relay/script.hpp"
#include "tests/relay/stranger.hpp"

namespace sgm::relay {

// What became of an attack: who refused it first, or why nobody had to.
enum class Outcome : std::uint32_t {
    refused_by_hypervisor,
    refused_by_ids,
    refused_by_authority,
    refusal_believed,  // the IDS takes a refusal in the clear for the end of its session
    unanswered,        // the session lives on; the beat shows that something was not answered
    delayed,           // an attempt to register came to nothing, the next was good
    unharmed,          // every answer was the honest one
};
inline constexpr std::size_t kOutcomeCount = 7;

struct Result {
    Outcome outcome = Outcome::unharmed;
    bool session_ended = false;
    bool owner_told = false;
    std::string violation;  // empty: all invariants held
};

class Suite final {
  public:
    Suite();

    // Sizes of the messages of the honest conversation.
    [[nodiscard]] const std::vector<std::size_t>& sizes() const { return sizes_; }
    // What did not hold of that; empty when all did.
    [[nodiscard]] const std::string& honest_violation() const { return honest_violation_; }

    // `number` makes the randomness of the case.
    [[nodiscard]] Result run(const Case& one, std::uint64_t number);

  private:
    [[nodiscard]] bool record();
    [[nodiscard]] Message substitute_for(const Case& one);
    // Whether the session there is goes on as the conversation that is attacked.
    [[nodiscard]] bool arm(const Case& one);
    // From that step on, until the attack is over; false: not all was answered.
    [[nodiscard]] bool converse(std::size_t first_step);
    void recover(bool complete, bool lost);
    void judge(bool complete, bool refused_by_ids, Result& result);
    void let_owner_take();
    void violate(std::string_view what);

    ids::testing::World world_;
    Leaks leaks_;  // filled while the next is made
    hypervisor::testing::SyntheticGuest other_guest_;
    Relay relay_;
    Owner owner_;
    Examiner examiner_;
    std::vector<Step> steps_;
    std::vector<Message> honest_;  // the answer to each step; empty where it registers
    std::vector<std::size_t> sizes_;
    std::string honest_violation_;

    bool is_fresh_ = false;  // just registered, and asked the first step that asks
    std::uint32_t cases_without_beat_ = 0;
    bool must_be_refused_ = false;  // a sealed call of before a reset of the VM
    std::string violation_;
};

}  // namespace sgm::relay
