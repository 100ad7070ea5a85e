// SPDX-License-Identifier: MIT
#include "tests/relay/suite.hpp"

#include <utility>

#include "tests/relay/random.hpp"

namespace sgm::relay {
namespace {

// The same secrets under other names, so that nothing of another VM passes either.
hypervisor::testing::SyntheticGuest another(hypervisor::testing::SyntheticGuest guest) {
    guest.id = {0x99, 0x88};
    return guest;
}

remote::OwnerChannel channel(const ids::testing::World& world) {
    return {crypto::SigningKeyPair::from_seed(world.owner_signing.seed().first<32>()),
            crypto::SealingKeyPair::from_private(world.owner_sealing.private_key().first<32>()),
            world.domain()};
}

bool is_sealed_call(const Message& message, std::size_t number) {
    const auto header = Reader{message}.take<wire::OpHeader>();
    return number % 2 == 0 && header &&
           (header->command == static_cast<std::uint16_t>(wire::Command::request) ||
            header->command == static_cast<std::uint16_t>(wire::Command::close));
}

const hypervisor::testing::SyntheticGuest& furnished(ids::testing::World& world, Leaks& leaks) {
    furnish(world.guest, leaks);
    return world.guest;
}

}  // namespace

Suite::Suite()
    : other_guest_{another(furnished(world_, leaks_))},
      relay_{world_,
             [this](Bytes call, MutableBytes reply) { return machine_->sgm_op(call, reply); },
             [this] { return world_.guest.reads + other_guest_.reads; }, leaks_},
      steps_{conversation(world_.guest)} {
    begin_hypervisor();
    begin_examiner();
    const bool works = record();
    violation_ = relay_.take_violation();
    if (violation_.empty()) violation_ = machine_->complaint();
    if (!works) violate("the honest conversation does not work");
    honest_violation_ = std::exchange(violation_, {});
}

void Suite::begin_hypervisor() {
    begin_randomness_anew();
    relay_.begin();
    machine_.reset();  // one at a time
    machine_ = hypervisor::testing::make_machine({&world_.guest, &other_guest_},
                                                 world_.authority.public_key());
    world_.enrolled_key_id = machine_->key_id();
}

void Suite::begin_examiner() {
    owner_.emplace(channel(world_), world_.authority.public_key());
    examiner_.emplace(relay_, world_.authority.public_key(), world_.domain());
}

bool Suite::record() {
    bool works = true;
    for (const Step& step : steps_) {
        if (step.registers_anew) {
            if (!examiner_->register_anew()) return false;
            honest_.emplace_back();
        } else {
            auto answer = examiner_->ask(step.batch);
            works = works && answer;
            honest_.push_back(std::move(answer).value_or(Message{}));
        }
    }
    sizes_ = relay_.sizes();
    examiner_->beat(true);
    let_owner_take();
    return works && owner_->alarms.empty();
}

void Suite::violate(std::string_view what) {
    if (violation_.empty()) violation_ = what;
}

void Suite::let_owner_take() {
    for (const Message& message : std::exchange(relay_.to_owner, {})) {
        if (const std::string refusal = owner_->take(message); !refusal.empty())
            violate("the owner refused a message of the IDS: " + refusal);
    }
}

Message Suite::substitute_for(const Case& one) {
    const bool other_domain = one.attack == Attack::other_domain;
    const bool older_epoch = one.attack == Attack::older_epoch;
    if (one.attack != Attack::other_session && !other_domain && !older_epoch) return {};
    const std::uint64_t now = world_.guest.current_epoch;
    if (older_epoch) --world_.guest.current_epoch;
    Stranger stranger{relay_, world_, other_domain ? other_guest_.id : world_.domain()};
    Message message = stranger.message(steps_, one.message, one.detail == 1);
    world_.guest.current_epoch = now;
    return message;
}

bool Suite::converse() {
    bool complete = true;
    for (std::size_t n = 0; n <= steps_.size(); ++n) {
        // After an attack on the last answer, one step once more.
        const std::size_t i = n < steps_.size() ? n : 1;
        if (steps_[i].registers_anew) {
            if (!examiner_->register_anew()) {
                violate("the IDS does not register any more");
                return false;
            }
            continue;
        }
        const bool was_over = relay_.is_over();
        const auto answer = examiner_->ask(steps_[i].batch);
        if (answer && *answer != honest_[i]) violate("the IDS believed a wrong answer");
        if (!answer) complete = false;
        // One more answer shows whether the session has survived.
        if (was_over || examiner_->keeper().session_is_lost()) break;
    }
    if (!relay_.is_over()) violate("the attack found nothing to attack");
    return complete;
}

void Suite::recover(bool complete, bool lost) {
    if (lost && !examiner_->register_anew()) violate("the IDS does not register any more");
    const auto answer = examiner_->ask(steps_[1].batch);
    if (!answer || *answer != honest_[1]) violate("the IDS does not work any more");
    // As in the watcher: after a lost session it looks again, before it beats.
    examiner_->beat(complete || lost);
    if (!complete && !lost) examiner_->beat(true);
    let_owner_take();
}

Result Suite::run(const Case& one) {
    begin_hypervisor();
    Message substitute = substitute_for(one);
    begin_examiner();
    // What was sealed before a reset of the VM.
    const bool must_be_refused =
        one.attack == Attack::older_epoch && is_sealed_call(substitute, one.message);
    relay_.arm(one, std::move(substitute));
    const bool complete = converse();
    if (must_be_refused && relay_.refusals_by_hypervisor() == 0)
        violate("the hypervisor took what was sealed before a reset");
    relay_.disarm();
    Result result;
    result.session_ended = examiner_->keeper().session_is_lost();
    recover(complete, result.session_ended);
    result.owner_told = !owner_->alarms.empty();
    judge(complete, examiner_->keeper().refused_answers() > 0, result);
    if (violation_.empty()) violation_ = relay_.take_violation();
    if (violation_.empty()) violation_ = machine_->complaint();
    result.violation = std::exchange(violation_, {});
    return result;
}

void Suite::judge(bool complete, bool refused_by_ids, Result& result) {
    const bool refused = relay_.refusals_by_hypervisor() > 0;
    if (refused) {
        result.outcome = Outcome::refused_by_hypervisor;
    } else if (refused_by_ids) {
        result.outcome = Outcome::refused_by_ids;
    } else if (relay_.authority_refused()) {
        result.outcome = Outcome::refused_by_authority;
    } else if (result.session_ended || (complete && result.owner_told)) {
        result.outcome = Outcome::refusal_believed;
    } else if (!complete) {
        result.outcome = Outcome::unanswered;
    } else if (relay_.waits() > 0) {
        result.outcome = Outcome::delayed;
    }
    // A host that talks to the hypervisor by itself, or that answers late, disturbs nothing.
    const bool disturbed = result.session_ended || !complete || refused_by_ids ||
                           relay_.authority_refused() || (refused && relay_.waits() > 0);
    if (disturbed && !result.owner_told) violate("the owner was not told");
}

}  // namespace sgm::relay
