// SPDX-License-Identifier: MIT
#include "remote/monitor.hpp"

#include <gtest/gtest.h>

#include <random>

#include "config/temporary_directory.hpp"
#include "remote/testing.hpp"

namespace sgm::remote {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr milliseconds T = 1000ms;

class MonitorTest : public testing::Test {
  protected:
    MonitorTest() { start(); }

    // A daemon on the same store, as after a restart.
    void start() {
        monitor_.emplace(Monitor::Options{.interval = T,
                                          .authority = owner_.trust().authority,
                                          .allow_software_sgx = true,
                                          .require_protection = require_protection_},
                         owner_.channel(), rules_, store_, now_);
    }

    void advance(milliseconds time) {
        now_.instant += time;
        now_.utc += time.count();
    }

    // "" when it was accepted.
    std::string take(Bytes message) {
        const auto taken = monitor_->take_message(message, now_);
        return taken ? "" : taken.error().reason;
    }

    // Hands over all commands, as the relay does; the IDS repeats the newest challenge from now on.
    std::vector<ids::OpenedMessage> deliver_commands(FakeIds& ids) {
        std::vector<ids::OpenedMessage> taken;
        while (const auto command = monitor_->next_command()) {
            auto opened = ids.open(*command);
            if (!opened) {
                ADD_FAILURE() << "the IDS refused a command";
                continue;
            }
            if (opened->kind == wire::OwnerKind::challenge) {
                ids.next.remote_nonce = Reader{opened->payload}.take<wire::Challenge>()->nonce;
            }
            taken.push_back(std::move(*opened));
        }
        return taken;
    }

    // One interval of a healthy life.
    void live_one_interval(FakeIds& ids) {
        advance(T);
        monitor_->tick(now_);
        deliver_commands(ids);
        EXPECT_EQ(take(ids.beat()), "");
    }

    // Introduced and alive.
    void bring_to_life(FakeIds& ids) {
        EXPECT_EQ(take(ids.beat()), "");
        live_one_interval(ids);
        EXPECT_EQ(life(), Life::alive);
    }

    // Lets time pass without a message, the daemon ticking as it does.
    void stay_silent(milliseconds time) {
        for (milliseconds passed{0}; passed < time; passed += 50ms) {
            advance(50ms);
            monitor_->tick(now_);
        }
    }

    [[nodiscard]] Life life() { return store_.status()->life; }

    [[nodiscard]] std::vector<std::string> alerts(std::string_view kind) {
        return of_alerts(kind, &Observation::text);
    }
    [[nodiscard]] std::vector<wire::Severity> severities(std::string_view kind) {
        return of_alerts(kind, &Observation::severity);
    }
    template <typename T>
    [[nodiscard]] std::vector<T> of_alerts(std::string_view kind, T Observation::* member) {
        std::vector<T> values;
        for (const StoredAlert& alert : store_.alerts(0, 1000)) {
            if (alert.alert.kind == kind) values.push_back(alert.alert.*member);
        }
        return values;
    }

    const config::TemporaryDirectory dir_;
    const Owner owner_;
    RuleSet rules_{.version = 3, .rules = {}};
    Store store_ = Store::create_or_open(dir_ / "remote.db");
    Now now_{.instant = Instant{1000s}, .utc = 1'000'000};
    FakeIds ids_;
    bool require_protection_ = false;
    std::optional<Monitor> monitor_;
};

// --- liveness

TEST_F(MonitorTest, a_beat_that_repeats_no_challenge_is_recorded_but_is_no_sign_of_life) {
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(life(), Life::never_seen);
    EXPECT_FALSE(store_.last_heartbeat()->live);
    live_one_interval(ids_);
    EXPECT_EQ(life(), Life::alive);
    EXPECT_TRUE(store_.last_heartbeat()->live);
    EXPECT_EQ(alerts("alive"), std::vector<std::string>{"the IDS is alive"});
}

TEST_F(MonitorTest, a_dead_ids_is_suspect_after_two_intervals_and_dead_after_three) {
    bring_to_life(ids_);
    stay_silent(2 * T - 50ms);
    EXPECT_EQ(life(), Life::alive);
    stay_silent(50ms);
    EXPECT_EQ(life(), Life::suspect);
    stay_silent(T - 50ms);
    EXPECT_EQ(life(), Life::suspect);
    stay_silent(50ms);
    EXPECT_EQ(life(), Life::dead);
    stay_silent(10 * T);
    EXPECT_EQ(alerts("suspect").size(), 1u);
    EXPECT_EQ(alerts("dead").size(), 1u);
    EXPECT_EQ(alerts("dead").front(),
              "the IDS is dead or cut off: no live heartbeat for 3.0 s; the VM is not watched");
}

TEST_F(MonitorTest, an_ids_that_is_heard_but_never_proves_its_life_is_dead_after_three_intervals) {
    EXPECT_EQ(take(ids_.beat()), "");
    stay_silent(2 * T);
    EXPECT_EQ(life(), Life::suspect);
    EXPECT_EQ(take(ids_.beat()), "") << "without a challenge: the host keeps those back";
    start();
    stay_silent(3 * T);
    EXPECT_EQ(life(), Life::dead);
    EXPECT_EQ(alerts("dead").size(), 1u);
    live_one_interval(ids_);
    EXPECT_EQ(life(), Life::alive);
}

TEST_F(MonitorTest, an_ids_that_was_heard_before_a_restart_must_prove_its_life_after_it) {
    EXPECT_EQ(take(ids_.beat()), "");
    start();
    stay_silent(3 * T);
    EXPECT_EQ(life(), Life::dead);
}

TEST_F(MonitorTest, an_ids_that_comes_back_is_told) {
    bring_to_life(ids_);
    stay_silent(5 * T);
    live_one_interval(ids_);
    EXPECT_EQ(life(), Life::alive);
    EXPECT_EQ(alerts("alive").back(), "the IDS is alive again, after 6.0 s");
}

TEST_F(MonitorTest, a_host_that_holds_beats_back_gains_at_most_one_interval) {
    bring_to_life(ids_);
    // The host lets the IDS make many beats now, all with the newest nonce, kills it, and feeds
    // them one by one.
    std::vector<MessageBytes> stock;
    for (int i = 0; i < 20; ++i)
        stock.push_back(ids_.beat());
    milliseconds passed{0};
    for (const MessageBytes& beat : stock) {
        stay_silent(T / 4);
        passed += T / 4;
        EXPECT_EQ(take(beat), "");
        if (passed >= 3 * T) {
            EXPECT_NE(life(), Life::alive) << "suspect when 3 T have passed";
        }
        if (passed >= 4 * T) {
            EXPECT_EQ(life(), Life::dead);
        }
    }
    EXPECT_EQ(alerts("dead").size(), 1u);
}

TEST_F(MonitorTest, beats_without_scan_progress_are_no_sign_of_life) {
    bring_to_life(ids_);
    ids_.scans = false;
    for (int i = 0; i < 4; ++i)
        live_one_interval(ids_);
    EXPECT_EQ(life(), Life::dead);
    EXPECT_EQ(alerts("stalled").size(), 1u);
}

TEST_F(MonitorTest, an_unsupported_kernel_is_alive_and_told) {
    ids_.next.state = wire::IdsState::unsupported;
    wire::set_text(ids_.next.reason, "no BTF");
    bring_to_life(ids_);
    EXPECT_EQ(alerts("state"),
              std::vector<std::string>{"unsupported kernel: no BTF; the VM is not watched"});
}

// --- protection of the VM

TEST_F(MonitorTest, what_the_hypervisor_says_of_the_vms_protection_is_told_once_for_each_change) {
    ids_.next.protection = wire::Protection::unprotected;
    bring_to_life(ids_);
    live_one_interval(ids_);
    EXPECT_EQ(alerts("protection").size(), 1u);
    EXPECT_TRUE(alerts("protection").back().starts_with("not protected: "));
    EXPECT_EQ(severities("protection").back(), wire::Severity::info);
    ids_.next.protection = wire::Protection::protected_domain;
    live_one_interval(ids_);
    live_one_interval(ids_);
    EXPECT_EQ(alerts("protection").size(), 2u);
    EXPECT_TRUE(alerts("protection").back().starts_with("protected: "));
    EXPECT_EQ(severities("protection").back(), wire::Severity::info);
}

TEST_F(MonitorTest, protection_that_is_lost_is_an_alarm_also_over_restarts_of_ids_and_remote) {
    ids_.next.protection = wire::Protection::protected_domain;
    bring_to_life(ids_);
    monitor_.reset();
    start();
    FakeIds next{11};
    next.next.protection = wire::Protection::unprotected;
    EXPECT_EQ(take(next.beat()), "");
    EXPECT_NE(alerts("protection").back().find("it did keep it out before"), std::string::npos);
    EXPECT_EQ(severities("protection").back(), wire::Severity::critical);
}

TEST_F(MonitorTest, an_owner_who_requires_protection_is_alarmed_until_it_is_there) {
    require_protection_ = true;
    monitor_.reset();
    start();
    bring_to_life(ids_);
    EXPECT_EQ(severities("protection").back(), wire::Severity::critical)
        << "an IDS that does not know of it is no proof";
    ids_.next.protection = wire::Protection::unprotected;
    live_one_interval(ids_);
    EXPECT_EQ(severities("protection").back(), wire::Severity::critical);
    EXPECT_NE(alerts("protection").back().find("require_protection"), std::string::npos);
    ids_.next.protection = wire::Protection::protected_domain;
    live_one_interval(ids_);
    EXPECT_EQ(severities("protection").back(), wire::Severity::info);
}

// --- starts

TEST_F(MonitorTest, a_new_start_replaces_the_old_one_whose_messages_are_then_refused) {
    bring_to_life(ids_);
    const auto late = ids_.beat();
    FakeIds next{11};
    EXPECT_EQ(take(next.beat()), "");
    EXPECT_EQ(alerts("start").size(), 2u);
    EXPECT_EQ(take(late), "a heartbeat of an earlier start of the IDS");
    EXPECT_EQ(take(ids_.finding(a_finding())),
              "a message of a start of the IDS that no heartbeat has introduced");
    live_one_interval(next);
    EXPECT_EQ(life(), Life::alive);
}

TEST_F(MonitorTest, a_start_is_introduced_by_a_valid_heartbeat_only) {
    EXPECT_EQ(take(ids_.finding(a_finding())),
              "a message of a start of the IDS that no heartbeat has introduced");
    ids_.authority = 51;
    EXPECT_EQ(take(ids_.beat()),
              "the attestation result is not signed by the authority that we pin");
    EXPECT_FALSE(store_.newest_boot());
    EXPECT_TRUE(store_.findings(0, 10).empty());
    EXPECT_FALSE(monitor_->next_command()) << "nothing is told to whom nobody knows";
}

// --- the hostile network

TEST_F(MonitorTest, garbage_changes_nothing_but_a_counter) {
    bring_to_life(ids_);
    const auto alerts_before = store_.alerts(0, 1000).size();
    std::mt19937 random{1};
    for (int i = 0; i < 500; ++i) {
        MessageBytes message(random() % 2000);
        for (auto& byte : message)
            byte = static_cast<std::uint8_t>(random());
        const auto taken = monitor_->take_message(message, now_);
        ASSERT_FALSE(taken);
        EXPECT_TRUE(taken.error().malformed);
    }
    EXPECT_EQ(store_.alerts(0, 1000).size(), alerts_before);
    stay_silent(T);
    EXPECT_EQ(store_.status()->refused_messages, 500u);
    EXPECT_EQ(life(), Life::alive);
}

TEST_F(MonitorTest, every_flipped_bit_of_a_heartbeat_is_refused_and_the_true_one_still_taken) {
    bring_to_life(ids_);
    MessageBytes beat = ids_.beat();
    for (std::size_t bit = 0; bit < beat.size() * 8; bit += 7) {
        beat[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
        EXPECT_NE(take(beat), "") << bit;
        beat[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    }
    EXPECT_EQ(take(beat), "");
}

TEST_F(MonitorTest, replaying_everything_that_was_ever_said_changes_nothing) {
    std::vector<MessageBytes> said{ids_.beat()};
    EXPECT_EQ(take(said.back()), "");
    for (int i = 0; i < 5; ++i) {
        advance(T);
        monitor_->tick(now_);
        deliver_commands(ids_);
        said.push_back(ids_.beat());
        EXPECT_EQ(take(said.back()), "");
        said.push_back(ids_.finding(a_finding()));
        EXPECT_EQ(take(said.back()), "");
    }
    const auto alerts_before = store_.alerts(0, 1000).size();
    for (const MessageBytes& message : said)
        EXPECT_NE(take(message), "");
    stay_silent(2 * T);
    EXPECT_EQ(life(), Life::suspect);
    EXPECT_EQ(store_.findings(0, 100).size(), 5u);
    EXPECT_EQ(store_.alerts(0, 1000).size(), alerts_before + 1);
}

TEST_F(MonitorTest, an_alarming_refusal_is_told_once_however_often_it_is_repeated) {
    ids_.attestation.flags |= wire::kAttestedDebug;
    const auto beat = ids_.beat();
    for (int i = 0; i < 100; ++i)
        EXPECT_NE(take(beat), "");
    ASSERT_EQ(alerts("refused").size(), 1u);
    EXPECT_NE(alerts("refused").front().find("debug enclave"), std::string::npos);
}

TEST_F(MonitorTest, what_only_owners_send_is_refused_from_an_ids) {
    bring_to_life(ids_);
    EXPECT_EQ(take(ids_.message(wire::OwnerKind::rules, rules_.payload())),
              "a message of a kind that only owners send");
}

TEST_F(MonitorTest, a_malformed_finding_is_refused) {
    bring_to_life(ids_);
    wire::Finding finding = a_finding();
    finding.severity = static_cast<wire::Severity>(9);
    EXPECT_EQ(take(ids_.finding(finding)), "a malformed finding");
    EXPECT_EQ(take(ids_.message(wire::OwnerKind::finding, {})), "a malformed finding");
    EXPECT_EQ(take(ids_.finding(a_finding())), "");
    EXPECT_EQ(store_.findings(0, 10).size(), 1u);
}

// --- what is told to the IDS

TEST_F(MonitorTest, a_new_challenge_goes_out_each_interval) {
    EXPECT_EQ(take(ids_.beat()), "");
    std::set<wire::Nonce> nonces;
    for (int i = 0; i < 10; ++i) {
        deliver_commands(ids_);
        nonces.insert(ids_.next.remote_nonce);
        stay_silent(T);
    }
    EXPECT_EQ(nonces.size(), 10u);
}

TEST_F(MonitorTest, rules_are_sent_until_a_beat_shows_them) {
    const auto rules_sent = [&] {
        const auto commands = deliver_commands(ids_);
        return std::ranges::count(commands, wire::OwnerKind::rules, &ids::OpenedMessage::kind);
    };
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(rules_sent(), 1);
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(rules_sent(), 1) << "the first may have been lost";
    ids_.next.rules_version = 3;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(rules_sent(), 0);
    EXPECT_EQ(alerts("rules"), std::vector<std::string>{"the IDS has rules version 3"});
}

TEST_F(MonitorTest, rules_that_the_host_keeps_back_are_told_within_three_intervals) {
    const std::vector<std::string> told = {
        "4 beats in a row show rules version 0, not version 3: the host keeps the rules from the "
        "IDS"};
    EXPECT_EQ(take(ids_.beat()), "");
    live_one_interval(ids_);
    live_one_interval(ids_);
    EXPECT_TRUE(alerts("rules").empty());
    live_one_interval(ids_);
    EXPECT_EQ(alerts("rules"), told);
    live_one_interval(ids_);
    EXPECT_EQ(alerts("rules"), told) << "once is enough";
}

TEST_F(MonitorTest, an_ids_that_comes_back_with_older_rules_than_it_had_is_an_alarm) {
    ids_.next.rules_version = 3;
    EXPECT_EQ(take(ids_.beat()), "");
    FakeIds rolled_back{11};
    rolled_back.next.rules_version = 2;
    EXPECT_EQ(take(rolled_back.beat()), "");
    const std::string alarm =
        "rollback: the IDS came back with rules version 2, because its host gave back an older "
        "record; it had version 3 before, and gets version 3 now";
    EXPECT_EQ(std::ranges::count(alerts("rules"), alarm), 1);
    const auto sent = deliver_commands(rolled_back);
    EXPECT_EQ(std::ranges::count(sent, wire::OwnerKind::rules, &ids::OpenedMessage::kind), 1);

    // Also when the start before was rolled back already, and when the daemon was restarted.
    start();
    FakeIds again{12};
    again.next.rules_version = 2;
    EXPECT_EQ(take(again.beat()), "");
    EXPECT_EQ(std::ranges::count(alerts("rules"), alarm), 2);
}

TEST_F(MonitorTest, an_ids_that_comes_back_with_the_rules_that_it_had_is_no_alarm) {
    ids_.next.rules_version = 3;
    EXPECT_EQ(take(ids_.beat()), "");
    FakeIds back{11};
    back.next.rules_version = 3;
    EXPECT_EQ(take(back.beat()), "");
    EXPECT_EQ(alerts("rules"), std::vector<std::string>(2, "the IDS has rules version 3"));
}

TEST_F(MonitorTest, an_ids_that_comes_back_without_rules_is_told_and_another_program_is_expected) {
    ids_.next.rules_version = 3;
    EXPECT_EQ(take(ids_.beat()), "");
    FakeIds bare{11};
    EXPECT_EQ(take(bare.beat()), "");
    EXPECT_TRUE(alerts("rules").back().starts_with("the IDS came back without its rules"));
    FakeIds another{12};
    another.attestation.mrenclave = filled<32>(0xe2);
    EXPECT_EQ(take(another.beat()), "");
    EXPECT_TRUE(alerts("rules").back().starts_with("another program than before is the IDS"));
}

TEST_F(MonitorTest, rules_that_the_ids_will_not_take_any_more_are_told_once) {
    ids_.next.rules_version = 4;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(take(ids_.beat()), "");
    const auto told = alerts("rules");
    ASSERT_EQ(told.size(), 2u);
    EXPECT_EQ(told[0], "the IDS has rules version 4");
    EXPECT_TRUE(told[1].starts_with("the IDS has rules version 4, so it will not take version 3"));
    for (const auto& command : deliver_commands(ids_)) {
        EXPECT_NE(command.kind, wire::OwnerKind::rules);
    }
}

TEST_F(MonitorTest, a_query_from_the_console_is_asked_and_its_answer_stored) {
    bring_to_life(ids_);
    const auto id = store_.add_query(wire::QueryKind::processes, now_.utc);
    monitor_->tick(now_);
    const auto commands = deliver_commands(ids_);
    const auto query =
        std::ranges::find(commands, wire::OwnerKind::query, &ids::OpenedMessage::kind);
    ASSERT_NE(query, commands.end());
    EXPECT_EQ(Reader{query->payload}.take<wire::Query>()->id, static_cast<std::uint64_t>(id));
    EXPECT_EQ(take(ids_.answer(static_cast<std::uint64_t>(id), {a_process(1, "systemd")})), "");
    EXPECT_EQ(store_.query(id)->state, QueryState::answered);
    // Another answer to it, and one that nobody asked for, are no error and change nothing.
    const auto stored = store_.query(id)->answer;
    EXPECT_EQ(take(ids_.answer(static_cast<std::uint64_t>(id), {})), "");
    EXPECT_EQ(take(ids_.answer(999, {})), "");
    EXPECT_EQ(store_.query(id)->answer, stored);
}

TEST_F(MonitorTest, an_answer_whose_rows_do_not_add_up_is_not_stored) {
    bring_to_life(ids_);
    const auto id = store_.add_query(wire::QueryKind::processes, now_.utc);
    monitor_->tick(now_);
    wire::Answer answer{};
    answer.query = static_cast<std::uint64_t>(id);
    answer.status = wire::AnswerStatus::ok;
    answer.row_count = 0x80000000;
    answer.row_size = sizeof(wire::ProcessRow);
    EXPECT_EQ(take(ids_.message(wire::OwnerKind::answer, bytes_of(answer))), "");
    EXPECT_EQ(store_.query(id)->state, QueryState::sent);
}

TEST_F(MonitorTest, a_query_fails_with_the_reason_when_there_is_no_ids_to_ask) {
    const auto id = store_.add_query(wire::QueryKind::processes, now_.utc);
    monitor_->tick(now_);
    EXPECT_EQ(store_.query(id)->failure, "no IDS has reported yet");
}

TEST_F(MonitorTest, a_query_that_has_waited_too_long_is_not_asked) {
    bring_to_life(ids_);
    const auto id = store_.add_query(wire::QueryKind::processes, now_.utc - 120'000);
    monitor_->tick(now_);
    EXPECT_EQ(store_.query(id)->failure, "asked too long ago");
}

// --- restarts of the daemon

TEST_F(MonitorTest, after_a_restart_old_messages_stay_refused_and_new_ones_continue) {
    bring_to_life(ids_);
    const auto last = ids_.finding(a_finding());
    EXPECT_EQ(take(last), "");
    monitor_->end(now_);
    EXPECT_FALSE(store_.status()->running);
    start();
    EXPECT_NE(take(last), "");
    live_one_interval(ids_);
    EXPECT_TRUE(alerts("gap").empty());
    EXPECT_EQ(alerts("start").size(), 1u);
    EXPECT_EQ(life(), Life::alive);
}

TEST_F(MonitorTest, after_a_restart_no_command_sequence_is_used_again) {
    bring_to_life(ids_);
    deliver_commands(ids_);
    start();
    EXPECT_FALSE(deliver_commands(ids_).empty()) << "the fake refuses what does not grow";
}

TEST_F(MonitorTest, an_ids_that_died_while_the_remote_was_down_is_noticed) {
    bring_to_life(ids_);
    monitor_->end(now_);
    start();
    stay_silent(3 * T);
    EXPECT_EQ(life(), Life::dead);
}

}  // namespace
}  // namespace sgm::remote
