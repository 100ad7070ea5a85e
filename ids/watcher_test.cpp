// SPDX-License-Identifier: MIT
// The whole life of an IDS, most of it over a guest in which there is no kernel to find, with a
// host in between that may be hostile. Real kernels are tests/integration's matter.
#include "ids/watcher.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "crypto/hash.hpp"
#include "guest/testing/synthetic_kernel.hpp"
#include "ids/testing/world.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::ids {
namespace {

using testing::Message;
using testing::World;

constexpr std::uint32_t kIntervalMs = 1000;

wire::EnclaveResult watch_world(World& world, int waits) {
    world.waits_left = waits;
    return watch(world, world.authority.public_key(), world.domain(), kIntervalMs);
}

// Sealed answers to sealed requests, and nothing else that a relay could tell apart by its size.
bool is_answer(const Message& reply) {
    const auto header = Reader{reply}.take<wire::OpHeader>();
    return header && header->command == static_cast<std::uint16_t>(wire::Command::request);
}

TEST(Watcher, beats_at_every_interval_in_one_unbroken_chain) {
    World world;
    EXPECT_EQ(watch_world(world, 5), wire::EnclaveResult::stopped);
    const auto beats = world.beats();
    ASSERT_GE(beats.size(), 5u);
    wire::Digest previous{};
    std::uint64_t number = 0;
    std::uint64_t sequence = 0;
    for (const OpenedMessage& message : world.owner_got) {
        EXPECT_EQ(message.header.sequence, ++sequence);
        const auto beat = Reader{message.payload}.take<wire::Heartbeat>().value();
        EXPECT_EQ(beat.beat, ++number);
        EXPECT_EQ(beat.previous_beat, previous);
        previous = crypto::sha256(message.payload);
    }
}

TEST(Watcher, a_guest_without_a_kernel_is_a_reported_state_and_never_an_empty_list) {
    World world;
    world.on_wait = [&world, asked = false]() mutable {
        if (asked) return;
        asked = true;
        const wire::Query query{.id = 7, .kind = wire::QueryKind::processes, .reserved = 0};
        world.command(wire::OwnerKind::query, bytes_of(query));
    };
    static_cast<void>(watch_world(world, 3));
    EXPECT_EQ(world.beats().back().state, wire::IdsState::no_kernel);
    EXPECT_EQ(world.beats().back().scan, 0u);
    EXPECT_FALSE(wire::get_text(world.beats().back().reason).empty());
    const auto answer =
        std::ranges::find(world.owner_got, wire::OwnerKind::answer, &OpenedMessage::kind);
    ASSERT_NE(answer, world.owner_got.end());
    const auto body = Reader{answer->payload}.take<wire::Answer>().value();
    EXPECT_EQ(body.query, 7u);
    EXPECT_EQ(body.status, wire::AnswerStatus::not_ready);
    EXPECT_FALSE(wire::get_text(body.reason).empty());
}

TEST(Watcher, beats_repeat_the_owners_last_challenge) {
    World world;
    world.on_wait = [&world, wait = 0]() mutable {
        const std::uint8_t number = ++wait == 1 ? 1 : wait == 3 ? 2 : 0;
        if (number == 0) return;
        world.command(wire::OwnerKind::challenge, bytes_of(wire::Challenge{.nonce = {number}}));
    };
    static_cast<void>(watch_world(world, 6));
    std::vector<int> repeated;
    for (const wire::Heartbeat& beat : world.beats()) {
        repeated.push_back(beat.remote_nonce[0]);
    }
    EXPECT_EQ(repeated.front(), 0);
    EXPECT_TRUE(std::ranges::is_sorted(repeated));
    EXPECT_EQ(std::ranges::count(repeated, 1), 2);
    EXPECT_EQ(repeated.back(), 2);
}

TEST(Watcher, each_beat_carries_the_hypervisors_word_on_the_vms_protection) {
    World world;
    world.on_wait = [&world, waits = 0]() mutable {
        if (++waits == 2) world.guest.current_protection = wire::Protection::protected_domain;
    };
    static_cast<void>(watch_world(world, 5));
    std::vector<wire::Protection> told;
    for (const wire::Heartbeat& beat : world.beats())
        told.push_back(beat.protection);
    EXPECT_EQ(told.front(), wire::Protection::unprotected) << "already in the first beat";
    EXPECT_EQ(told.back(), wire::Protection::protected_domain);
    EXPECT_TRUE(std::ranges::is_sorted(told));
}

TEST(Watcher, a_host_that_replays_an_answer_cannot_make_the_ids_call_the_vm_protected) {
    World world;
    world.guest.current_protection = wire::Protection::protected_domain;
    std::optional<Message> old;
    bool replays = false;
    world.on_reply = [&](Message& reply) {
        if (!is_answer(reply)) return;
        if (!old) old = reply;
        if (replays) reply = *old;
        replays = false;
    };
    world.on_wait = [&, waits = 0]() mutable {
        if (++waits != 3) return;
        world.guest.current_protection = wire::Protection::unprotected;
        replays = true;
    };
    static_cast<void>(watch_world(world, 6));
    const auto beats = world.beats();
    EXPECT_EQ(beats.front().protection, wire::Protection::protected_domain);
    EXPECT_EQ(beats.back().refused_answers, 1u);
    for (const wire::Heartbeat& beat : beats)
        EXPECT_TRUE(beat.registrations == 1 || beat.protection == wire::Protection::unprotected);
    EXPECT_EQ(beats.back().registrations, 2u);
}

TEST(Watcher, after_a_tampered_answer_the_ids_registers_anew_and_tells_the_owner) {
    World world;
    world.on_wait = [&world, waits = 0]() mutable {
        if (++waits != 2) return;
        world.on_reply = [&world](Message& reply) {
            if (!is_answer(reply)) return;
            reply.back() ^= 1;
            world.on_reply = [](Message&) {};
        };
    };
    EXPECT_EQ(watch_world(world, 6), wire::EnclaveResult::stopped);
    ASSERT_EQ(world.findings().size(), 1u);
    EXPECT_EQ(world.findings()[0].state, wire::FindingState::event);
    EXPECT_EQ(world.findings()[0].severity, wire::Severity::critical);
    EXPECT_EQ(wire::get_text(world.findings()[0].check), "session");
    EXPECT_EQ(world.beats().front().registrations, 1u);
    EXPECT_EQ(world.beats().back().registrations, 2u);
    EXPECT_EQ(world.beats().back().refused_answers, 1u);
}

TEST(Watcher, a_tampered_registration_is_told_to_the_owner_when_one_has_succeeded) {
    for (const bool at_start : {true, false}) {
        World world;
        world.lifetime_seconds = 4;
        const auto change_a_confirmation = [&world](Message& reply) {
            const auto header = Reader{reply}.take<wire::OpHeader>();
            if (header->command != static_cast<std::uint16_t>(wire::Command::open)) return;
            reply.back() ^= 1;
            world.on_reply = [](Message&) {};
        };
        if (at_start) world.on_reply = change_a_confirmation;
        world.on_wait = [&, waits = 0]() mutable {
            if (!at_start && ++waits == 1) world.on_reply = change_a_confirmation;
        };
        static_cast<void>(watch_world(world, 6));
        ASSERT_EQ(world.findings().size(), 1u);
        EXPECT_EQ(world.owner_got.front().kind, wire::OwnerKind::heartbeat) << "who speaks";
        EXPECT_EQ(wire::get_text(world.findings()[0].check), "session");
        EXPECT_EQ(world.beats().back().refused_answers, 1u);
    }
}

TEST(Watcher, a_tampered_close_is_told_to_the_owner) {
    World world;
    world.lifetime_seconds = 4;
    world.on_reply = [&world](Message& reply) {
        const auto header = Reader{reply}.take<wire::OpHeader>();
        if (header->command != static_cast<std::uint16_t>(wire::Command::close)) return;
        reply.back() ^= 1;
        world.on_reply = [](Message&) {};
    };
    static_cast<void>(watch_world(world, 6));
    ASSERT_EQ(world.findings().size(), 1u);
    EXPECT_EQ(world.findings()[0].severity, wire::Severity::critical);
    EXPECT_EQ(world.beats().back().refused_answers, 1u);
}

TEST(Watcher, a_session_whose_lifetime_nears_its_end_is_renewed_without_a_finding) {
    World world;
    world.lifetime_seconds = 4;
    EXPECT_EQ(watch_world(world, 8), wire::EnclaveResult::stopped);
    EXPECT_GE(world.beats().back().registrations, 3u);
    EXPECT_TRUE(world.findings().empty());
}

// What the owner heard before anything said that the session was lost.
std::uint64_t beats_before_loss(const World& world) {
    std::uint64_t beats = 0;
    for (const OpenedMessage& message : world.owner_got) {
        if (message.kind == wire::OwnerKind::heartbeat) ++beats;
        if (message.kind != wire::OwnerKind::finding) continue;
        const auto finding = Reader{message.payload}.take<wire::Finding>().value();
        if (wire::get_text(finding.text).find("ended") != std::string::npos) return beats;
    }
    return beats;
}

TEST(Watcher, while_the_authority_is_away_the_old_session_is_used_until_its_true_end) {
    const std::uint64_t lifetime = 20;
    using Trouble = std::function<void(World&)>;
    const std::vector<std::pair<const char*, Trouble>> troubles = {
        {"silent", [](World& world) { world.authority_answers = false; }},
        {"refusing", [](World& world) { world.refusal = "not today"; }},
        {"another authority",
         [](World& world) { world.false_authority = crypto::SigningKeyPair::generate().value(); }},
        {"an old result",
         [](World& world) {
             world.on_attestation = [](auto& result) { result.registration_nonce[0] ^= 1; };
         }},
    };
    for (const auto& [what, trouble] : troubles) {
        World world;
        world.lifetime_seconds = lifetime;
        const std::uint64_t start = world.port.clock_ns;
        world.on_wait = [&, troubled = false]() mutable {
            if (!troubled) trouble(world);
            troubled = true;
            // The authority is back when the session is over, so that the IDS can say what
            // happened.
            if (world.port.clock_ns < start + (lifetime + 1) * 1'000'000'000) return;
            world.authority_answers = true;
            world.refusal.reset();
            world.false_authority.reset();
            world.on_attestation = [](auto&) {};
        };
        EXPECT_EQ(watch_world(world, 300), wire::EnclaveResult::stopped);
        EXPECT_GE(beats_before_loss(world), lifetime) << what << ": a beat for each interval";
        const auto findings = world.findings();
        ASSERT_GE(findings.size(), 2u) << what;
        EXPECT_NE(wire::get_text(findings[0].text).find("cannot be renewed"), std::string::npos);
        EXPECT_NE(wire::get_text(findings[1].text).find("lifetime is over"), std::string::npos)
            << wire::get_text(findings[1].text);
        EXPECT_GE(world.beats().back().registrations, 2u) << what;
    }
}

TEST(Watcher, an_authority_that_comes_back_in_time_is_no_gap_at_all) {
    World world;
    world.lifetime_seconds = 20;
    world.on_wait = [&, start = world.port.clock_ns] {
        world.authority_answers = world.port.clock_ns > start + 18'000'000'000;
    };
    static_cast<void>(watch_world(world, 300));
    EXPECT_GE(world.beats().back().registrations, 2u);
    ASSERT_FALSE(world.findings().empty());
    for (const wire::Finding& finding : world.findings()) {
        EXPECT_NE(wire::get_text(finding.text).find("cannot be renewed"), std::string::npos);
    }
}

TEST(Watcher, a_new_session_stands_before_the_old_one_is_closed) {
    World world;
    world.lifetime_seconds = 4;
    std::vector<wire::Command> order;
    world.on_call = [&order](const Message& call) {
        const auto command =
            static_cast<wire::Command>(Reader{call}.take<wire::OpHeader>()->command);
        if (command == wire::Command::open || command == wire::Command::close) {
            order.push_back(command);
        }
    };
    static_cast<void>(watch_world(world, 8));
    ASSERT_GE(order.size(), 3u);
    EXPECT_EQ(order[0], wire::Command::open);
    EXPECT_EQ(order[1], wire::Command::open);
    EXPECT_EQ(order[2], wire::Command::close);
}

TEST(Watcher, a_host_that_drops_the_search_for_a_kernel_is_told_and_does_not_pass_for_a_start) {
    World world;
    world.drops = [](const Message& call) {
        const auto header = Reader{call}.take<wire::OpHeader>();
        const bool sealed = header->command == static_cast<std::uint16_t>(wire::Command::request);
        return sealed && header->size > sizeof(wire::SealedHeader) + sizeof(wire::SearchCall);
    };
    static_cast<void>(watch_world(world, 3));
    const auto beats = world.beats();
    ASSERT_GE(beats.size(), 3u);
    EXPECT_EQ(beats[0].state, wire::IdsState::starting);
    EXPECT_EQ(beats[1].state, wire::IdsState::unreadable);
    EXPECT_FALSE(wire::get_text(beats[1].reason).empty());
}

TEST(Watcher, after_a_reset_the_kernel_that_ran_before_is_not_watched_any_more) {
    guest::testing::SyntheticKernel kernel;
    kernel.set_registers();
    World world;
    world.port.remove(world.guest);
    world.port.add(kernel.vm());
    world.on_wait = [&, waits = 0]() mutable {
        if (++waits != 2) return;
        // What a reset leaves: all memory as it was, and a processor without paging.
        ++kernel.vm().current_epoch;
        kernel.vm().vcpus[0].cr0 = 0;
    };
    static_cast<void>(watch_world(world, 5));
    EXPECT_NE(std::ranges::count(world.beats(), wire::IdsState::watching, &wire::Heartbeat::state),
              0);
    EXPECT_EQ(world.beats().back().state, wire::IdsState::no_kernel);
    EXPECT_EQ(world.beats().back().check_count, 0u);
}

TEST(Watcher, memory_that_runs_short_is_a_failed_check_and_a_finding_and_passes) {
    guest::testing::SyntheticKernel kernel;
    kernel.set_registers();
    World world;
    world.port.remove(world.guest);
    world.port.add(kernel.vm());
    bool is_short = false;
    world.memory_runs_short = [&] { return is_short; };
    world.on_wait = [&, wait = 0]() mutable {
        ++wait;
        if (wait == 2) is_short = true;
        if (wait == 4) is_short = false;
    };
    EXPECT_EQ(watch_world(world, 7), wire::EnclaveResult::stopped);
    std::vector<bool> failed;
    std::vector<std::uint64_t> scans;
    for (const OpenedMessage& message : world.owner_got) {
        if (message.kind != wire::OwnerKind::heartbeat) continue;
        Reader reader{message.payload};
        scans.push_back(reader.take<wire::Heartbeat>()->scan);
        const auto coverage = reader.take<wire::CheckCoverage>();
        failed.push_back(coverage && coverage->state == wire::CheckState::failed);
    }
    EXPECT_EQ(std::ranges::count(failed, true), 2);
    EXPECT_FALSE(failed.back());
    EXPECT_LT(scans[scans.size() - 2], scans.back()) << "it scans again";
    ASSERT_EQ(world.findings().size(), 1u) << "once is enough";
    EXPECT_EQ(wire::get_text(world.findings()[0].check), "memory");
}

TEST(Watcher, the_last_words_of_an_ids_without_memory_reach_the_owner) {
    World world;
    world.on_wait = [&, wait = 0]() mutable {
        if (++wait == 2) world.run_out_of_memory();
    };
    static_cast<void>(watch_world(world, 3));
    ASSERT_EQ(world.findings().size(), 1u);
    EXPECT_EQ(world.findings()[0].severity, wire::Severity::critical);
    EXPECT_EQ(wire::get_text(world.findings()[0].check), "memory");
}

TEST(Watcher, a_hypervisor_that_forgot_the_session_is_registered_with_anew) {
    World world;
    world.on_wait = [&world, waits = 0]() mutable {
        if (++waits != 2) return;
        world.core = std::make_unique<hypervisor::Core>(
            world.port,
            crypto::SealingKeyPair::from_private(world.hypervisor_key.private_key().first<32>()),
            world.authority.public_key(), true);
    };
    static_cast<void>(watch_world(world, 5));
    EXPECT_EQ(world.beats().back().registrations, 2u);
    EXPECT_EQ(world.beats().back().refused_answers, 0u);
    ASSERT_EQ(world.findings().size(), 1u);
    EXPECT_EQ(world.findings()[0].severity, wire::Severity::warning);
}

class Commands : public ::testing::Test {
  protected:
    static Message rules(std::uint64_t version) {
        const wire::Rules header{.version = version, .count = 0, .reserved = 0};
        const Bytes bytes = bytes_of(header);
        return {bytes.begin(), bytes.end()};
    }
    std::uint64_t version_after(std::function<void(int)> on_wait) {
        world.on_wait = [on_wait = std::move(on_wait), wait = 0]() mutable { on_wait(++wait); };
        static_cast<void>(watch_world(world, 6));
        return world.beats().back().rules_version;
    }
    World world;
};

TEST_F(Commands, rules_signed_by_the_owner_are_taken) {
    EXPECT_EQ(version_after([this](int wait) {
                  if (wait == 1) world.command(wire::OwnerKind::rules, rules(3));
              }),
              3u);
}

TEST_F(Commands, rules_never_go_back_to_a_lower_version) {
    EXPECT_EQ(version_after([this](int wait) {
                  if (wait == 1) world.command(wire::OwnerKind::rules, rules(3));
                  if (wait == 2) world.command(wire::OwnerKind::rules, rules(2));
              }),
              3u);
}

TEST_F(Commands, rules_signed_by_anyone_else_are_ignored) {
    EXPECT_EQ(version_after([this](int wait) {
                  if (wait != 1) return;
                  world.owner_signing = crypto::SigningKeyPair::generate().value();
                  world.command(wire::OwnerKind::rules, rules(3));
              }),
              0u);
}

TEST_F(Commands, a_command_replayed_by_the_host_is_ignored) {
    Message first;
    EXPECT_EQ(
        version_after([&](int wait) {
            if (wait == 1) {
                world.command(wire::OwnerKind::challenge, bytes_of(wire::Challenge{.nonce = {1}}));
                first = world.to_ids.back();
                world.command(wire::OwnerKind::challenge, bytes_of(wire::Challenge{.nonce = {2}}));
            }
            if (wait == 3) world.to_ids.push_back(first);
        }),
        0u);
    EXPECT_EQ(world.beats().back().remote_nonce[0], 2);
}

TEST_F(Commands, bytes_of_the_hosts_own_making_are_ignored) {
    EXPECT_EQ(version_after([this](int wait) {
                  world.to_ids.push_back(Message(static_cast<std::size_t>(wait) * 40, 0x5a));
              }),
              0u);
    EXPECT_EQ(world.findings().size(), 0u);
}

}  // namespace
}  // namespace sgm::ids
