// SPDX-License-Identifier: MIT
// The owner's rules over restarts of the IDS, with a host that gives back what it likes.
#include "ids/kept_rules.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "ids/testing/world.hpp"
#include "ids/watcher.hpp"
#include "wire/fixed_text.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::ids {
namespace {

using testing::Message;
using testing::World;

constexpr std::string_view kForbidden = "xmrig";

class KeptRules : public ::testing::Test {
  protected:
    static Message rules(std::uint64_t version) {
        const wire::Rules header{.version = version, .count = 1, .reserved = 0};
        wire::Rule rule{};
        rule.action = wire::RuleAction::deny;
        rule.match = wire::kMatchComm;
        wire::set_text(rule.comm, kForbidden);
        wire::set_text(rule.name, "no miners");
        Message payload(sizeof header + sizeof rule);
        Writer writer{payload};
        writer.put(header);
        writer.put(rule);
        return payload;
    }

    // One start of the IDS, to whom the owner gives rules of that version; 0: none.
    void live(std::uint64_t version = 0) {
        world.owner_got.clear();
        world.waits_left = 4;
        world.on_wait = [this, version, told = false]() mutable {
            if (version != 0 && !told) world.command(wire::OwnerKind::rules, rules(version));
            told = true;
        };
        EXPECT_EQ(watch(world, world.authority.public_key(), world.domain(), 1000),
                  wire::EnclaveResult::stopped);
    }
    // What the owner sees of a start at once.
    [[nodiscard]] std::uint64_t first_version() const {
        return world.beats().front().rules_version;
    }
    [[nodiscard]] std::uint64_t last_version() const { return world.beats().back().rules_version; }
    [[nodiscard]] std::vector<std::string> told() const {
        std::vector<std::string> texts;
        for (const wire::Finding& finding : world.findings()) {
            if (wire::get_text(finding.check) == "rules")
                texts.emplace_back(wire::get_text(finding.text));
        }
        return texts;
    }
    void expect_refused() const {
        EXPECT_EQ(first_version(), 0u);
        ASSERT_EQ(told().size(), 1u);
        EXPECT_TRUE(told()[0].starts_with("The rules that the host kept for this start were"));
    }

    World world;
};

TEST_F(KeptRules, are_in_force_again_at_the_first_beat_after_a_restart) {
    live(7);
    EXPECT_EQ(first_version(), 0u);
    EXPECT_EQ(last_version(), 7u);
    live();
    EXPECT_EQ(first_version(), 7u);
    EXPECT_TRUE(told().empty());
}

TEST_F(KeptRules, are_kept_before_the_owner_hears_that_they_are_in_force) {
    std::size_t beats_before = 0;
    world.drops = [&](const Message&) {
        if (!world.stored) beats_before = world.beats().size();
        return false;
    };
    live(7);
    ASSERT_TRUE(world.stored.has_value());
    ASSERT_LT(beats_before, world.beats().size());
    for (std::size_t i = 0; i < beats_before; ++i)
        EXPECT_EQ(world.beats()[i].rules_version, 0u);
}

TEST_F(KeptRules, hold_nothing_that_the_host_can_read) {
    live(7);
    EXPECT_TRUE(std::ranges::search(*world.stored, kForbidden).empty());
}

TEST_F(KeptRules, that_the_host_changed_anywhere_are_refused_and_the_owner_is_told) {
    live(7);
    const Message kept = *world.stored;
    for (std::size_t i = 0; i < kept.size(); ++i) {
        Message changed = kept;
        changed[i] ^= 1;
        world.stored = changed;
        EXPECT_FALSE(recall_rules(world, world.domain(), world.owner_signing.public_key()))
            << "byte " << i;
    }
    live();
    expect_refused();
}

TEST_F(KeptRules, that_the_host_cut_or_made_longer_are_refused_whatever_their_size) {
    live(7);
    const Message kept = *world.stored;
    for (std::size_t size = 0; size < kept.size(); ++size) {
        world.stored = Message{kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(size)};
        EXPECT_FALSE(recall_rules(world, world.domain(), world.owner_signing.public_key()));
    }
    world.stored = Message(wire::kMaxKeptBlob + 1, 0);
    live();
    expect_refused();
}

TEST_F(KeptRules, of_another_enclave_are_refused) {
    live(7);
    world.cpu.mrenclave = 2;  // of the same signer, too
    live();
    expect_refused();
}

TEST_F(KeptRules, of_another_machine_are_refused) {
    live(7);
    world.cpu.machine = 2;
    live();
    expect_refused();
}

TEST_F(KeptRules, of_another_vm_or_another_owner_are_refused) {
    const wire::SigningKey owner = world.owner_signing.public_key();
    const auto another = crypto::SigningKeyPair::generate().value().public_key();
    ASSERT_TRUE(keep_rules(world, world.domain(), owner, rules(7)).has_value());
    EXPECT_FALSE(recall_rules(world, wire::Uuid{9}, owner).has_value());
    EXPECT_FALSE(recall_rules(world, world.domain(), another).has_value());
    EXPECT_EQ(recall_rules(world, world.domain(), owner).value()->version, 7u);
}

TEST_F(KeptRules, an_older_version_that_the_host_gives_back_shows_in_the_first_beat) {
    live(7);
    const Message older = *world.stored;
    live(8);
    world.stored = older;
    live(8);
    EXPECT_EQ(first_version(), 7u) << "it opens: only the owner knows that there was a newer one";
    EXPECT_EQ(last_version(), 8u);
}

TEST_F(KeptRules, below_what_the_owner_has_told_the_ids_never_goes_whatever_the_host_gives) {
    live(7);
    const Message older = *world.stored;
    world.owner_got.clear();
    world.waits_left = 6;
    world.on_wait = [&, wait = 0]() mutable {
        if (++wait == 1) world.command(wire::OwnerKind::rules, rules(9));
        if (wait == 2) world.command(wire::OwnerKind::rules, rules(8));
        world.stored = older;
    };
    static_cast<void>(watch(world, world.authority.public_key(), world.domain(), 1000));
    EXPECT_EQ(last_version(), 9u);
}

TEST_F(KeptRules, that_the_host_lost_begin_a_start_without_rules_which_the_beat_says) {
    live(7);
    world.stored.reset();
    live();
    EXPECT_EQ(first_version(), 0u);
    EXPECT_TRUE(told().empty()) << "as at the very first start";
}

TEST_F(KeptRules, a_host_that_keeps_nothing_is_told_once) {
    world.stores = false;
    live(7);
    EXPECT_EQ(last_version(), 7u) << "they are in force all the same";
    EXPECT_EQ(told(), std::vector<std::string>{"The host keeps no rules for the next start of the "
                                               "IDS: it will begin without them."});
}

}  // namespace
}  // namespace sgm::ids
