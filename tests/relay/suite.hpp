// SPDX-License-Identifier: MIT
// Carries out one case after the other, and after each checks what must hold: nothing that is
// wrong was believed, nothing came out in the clear, the IDS registered anew and works, and its
// owner was told.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/core/testing/machine.hpp"
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

    // Nothing is left of it for the next.
    [[nodiscard]] Result run(const Case& one);

  private:
    // What each case starts with: a hypervisor, an IDS and an owner who have not met.
    void begin_hypervisor();
    void begin_examiner();
    [[nodiscard]] bool record();
    [[nodiscard]] Message substitute_for(const Case& one);
    // Until the attack is over; false: not all was answered.
    [[nodiscard]] bool converse();
    void recover(bool complete, bool lost);
    void judge(bool complete, bool refused_by_ids, Result& result);
    void let_owner_take();
    void violate(std::string_view what);

    ids::testing::World world_;
    Leaks leaks_;  // filled while the next is made
    hypervisor::testing::SyntheticGuest other_guest_;
    std::unique_ptr<hypervisor::testing::Machine> machine_;
    Relay relay_;
    std::optional<Owner> owner_;
    std::optional<Examiner> examiner_;
    std::vector<Step> steps_;
    std::vector<Message> honest_;  // the answer to each step; empty where it registers
    std::vector<std::size_t> sizes_;
    std::string honest_violation_;

    std::string violation_;
};

}  // namespace sgm::relay
