// SPDX-License-Identifier: MIT
#include "remote/console.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/temporary_directory.hpp"
#include "remote/service.hpp"
#include "remote/testing.hpp"

namespace sgm::remote {
namespace {

using nlohmann::json;

class Console : public testing::Test {
  protected:
    Console() { settings_.domain = kDomain; }

    void add_beat(UtcMs received) {
        const auto opened = Owner{}.channel().open(ids_.beat()).value();
        boot_ = take_heartbeat(boot_, opened, Owner{}.trust()).value().boot;
        store_.save_boot(*boot_);
        store_.add_heartbeat(*boot_, received, true);
    }

    void set_daemon(Life life, UtcMs updated, bool running = true) {
        store_.set_status({.updated = updated,
                           .running = running,
                           .life = life,
                           .last_sign_of_life = updated,
                           .rules_version = 3,
                           .refused_messages = 0,
                           .last_refusal = ""});
    }

    [[nodiscard]] json status_json(UtcMs at) {
        return json::parse(status(store_, settings_, at).render(cli::Format::json));
    }

    static std::vector<std::uint8_t> answer_bytes(const std::vector<wire::ProcessRow>& rows) {
        FakeIds ids;
        return Owner{}.channel().open(ids.answer(1, rows)).value().payload;
    }

    const config::TemporaryDirectory dir_;
    Store store_ = Store::create_or_open(dir_ / "remote.db");
    Settings settings_{};
    FakeIds ids_;
    std::optional<Boot> boot_;
};

TEST_F(Console, status_says_what_the_ids_last_said_and_that_it_is_software) {
    add_beat(10'000);
    set_daemon(Life::alive, 10'100);
    const std::string text = status(store_, settings_, 10'400).render(cli::Format::text);
    for (const char* line :
         {"6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10", "alive", "watching", "1, 0.4 s ago", "211",
          "6.1.0-44-cloud-amd64", "SOFTWARE SGX: no protection from this host's root"}) {
        EXPECT_NE(text.find(line), std::string::npos) << line << " in\n" << text;
    }
    const json object = status_json(10'400);
    EXPECT_EQ(object["state"], "alive");
    EXPECT_EQ(object["beat"], 1);
    EXPECT_EQ(object["scan"], 1);
    EXPECT_EQ(object["processes"], 211);
    EXPECT_EQ(object["software_sgx"], true);
    EXPECT_EQ(object["running"], true);
}

TEST_F(Console, status_says_whether_the_hypervisor_keeps_the_host_out) {
    const auto told = [this](wire::Protection protection) {
        ids_.next.protection = protection;
        add_beat(10'000);
        return status(store_, settings_, 10'400).render(cli::Format::text);
    };
    EXPECT_NE(told(wire::Protection::unknown).find("unknown: the hypervisor's word"),
              std::string::npos);
    EXPECT_NE(told(wire::Protection::unprotected).find("not protected: the hypervisor"),
              std::string::npos);
    EXPECT_EQ(status_json(10'400)["protection"], "unprotected");
    EXPECT_NE(told(wire::Protection::protected_domain).find(" protected: the hypervisor keeps"),
              std::string::npos);
    EXPECT_EQ(status_json(10'400)["protection"], "protected");
}

TEST_F(Console, status_without_a_daemon_claims_nothing) {
    EXPECT_EQ(status_json(0)["state"], "never seen");
    set_daemon(Life::alive, 10'000);
    EXPECT_EQ(status_json(20'000)["state"],
              "unknown: the remote is not running (last known: alive)");
    EXPECT_EQ(status_json(20'000)["running"], false);
    set_daemon(Life::alive, 20'000, false);
    EXPECT_EQ(status_json(20'000)["running"], false);
}

TEST_F(Console, status_names_the_reason_of_an_unsupported_kernel) {
    ids_.next.state = wire::IdsState::unsupported;
    wire::set_text(ids_.next.reason, "no BTF section");
    add_beat(10'000);
    set_daemon(Life::alive, 10'000);
    EXPECT_EQ(status_json(10'000)["ids"], "unsupported kernel: no BTF section");
}

TEST_F(Console, processes_are_shown_with_the_guests_text_escaped) {
    const auto list =
        process_list(answer_bytes({a_process(1, "systemd"), a_process(9, "a\x1b[2J")}));
    ASSERT_TRUE(list);
    EXPECT_EQ(list->table.render(cli::Format::text),
              "PID  TGID  PPID   UID  STATE     START  COMM\n"
              "  1     1     1  1000  S      12.345 s  systemd\n"
              "  9     9     1  1000  S      12.345 s  a\\x1b[2J\n");
    const json rows = json::parse(list->table.render(cli::Format::json));
    EXPECT_EQ(rows[0]["start_time_ns"], 12'345'000'000);
    EXPECT_EQ(rows[1]["comm"], "a\\x1b[2J");
    EXPECT_EQ(list->missing, 0u);
}

TEST_F(Console, a_refused_or_cut_answer_is_told) {
    wire::Answer answer{};
    answer.status = wire::AnswerStatus::not_ready;
    wire::set_text(answer.reason, "no kernel yet");
    EXPECT_EQ(process_list(bytes_of(answer)).error().sentence,
              "the IDS cannot list the processes: no kernel yet");
    answer.status = wire::AnswerStatus::ok;
    answer.total_rows = 12;
    EXPECT_EQ(process_list(bytes_of(answer))->missing, 12u);
    EXPECT_FALSE(process_list({}));
}

TEST_F(Console, task_states_are_the_letters_of_ps) {
    EXPECT_EQ(task_state(0), "R");
    EXPECT_EQ(task_state(0x1), "S");
    EXPECT_EQ(task_state(0x2), "D");
    EXPECT_EQ(task_state(0x402), "I");
    EXPECT_EQ(task_state(0x2001), "S");  // freezable, since 6.1
    EXPECT_EQ(task_state(0x104), "T");
    EXPECT_EQ(task_state(0x8), "t");
    EXPECT_EQ(task_state(0x20 | 0x80), "Z");
    EXPECT_EQ(task_state(0x80), "X");
    EXPECT_EQ(task_state(0x40), "P");
    EXPECT_EQ(task_state(0x8000), "0x8000");
}

TEST_F(Console, alerts_and_findings_are_one_list_in_the_order_of_time) {
    store_.add_alert(1000, {wire::Severity::info, "start", "an IDS has started"});
    store_.add_finding(ids_.boot(), 2000, a_finding());
    store_.add_alert(3000, {wire::Severity::critical, "dead", "the IDS is dead"});
    const json rows = json::parse(alerts(store_, 100).render(cli::Format::json));
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_EQ(rows[0]["kind"], "start");
    EXPECT_EQ(rows[0]["pid"], nullptr);
    EXPECT_EQ(rows[1]["kind"], "finding raised");
    EXPECT_EQ(rows[1]["pid"], 812);
    EXPECT_EQ(rows[1]["parent_pid"], 700);
    EXPECT_EQ(rows[1]["rule"], "no nc");
    EXPECT_EQ(rows[2]["kind"], "dead");
    EXPECT_EQ(json::parse(alerts(store_, 2).render(cli::Format::json))[0]["kind"], "finding raised")
        << "the newest when there are too many";
    EXPECT_NE(alerts(store_, 100).render(cli::Format::text).find("1970-01-01 00:00:02.000Z"),
              std::string::npos);
}

TEST_F(Console, watching_tells_each_thing_once_from_now_on) {
    store_.add_alert(1000, {wire::Severity::info, "old", "before"});
    Follower follower{store_};
    EXPECT_TRUE(follower.news(cli::Format::text).empty());
    add_beat(2000);
    wire::Finding finding = a_finding();
    wire::set_text(finding.comm, "n\nc");
    store_.add_finding(ids_.boot(), 1500, finding);
    store_.add_alert(2500, {wire::Severity::critical, "dead", "the IDS is dead"});
    const auto lines = follower.news(cli::Format::text);
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0],
              "00:00:01.500 critical finding raised: A program runs that the rules deny.  [pid 812 "
              "n\\x0ac, uid 1000, parent 700 sh, rule no nc]\n");
    EXPECT_EQ(
        lines[1],
        "00:00:02.000 beat 1 live  scan 1  211 processes  0 open findings  watching  [SOFTWARE "
        "SGX: no protection from this host's root]\n");
    EXPECT_EQ(lines[2], "00:00:02.500 critical dead: the IDS is dead\n");
    EXPECT_TRUE(follower.news(cli::Format::text).empty());
    add_beat(3000);
    const json beat = json::parse(follower.news(cli::Format::json).at(0));
    EXPECT_EQ(beat["type"], "beat");
    EXPECT_EQ(beat["beat"], 2);
}

TEST_F(Console, asking_without_a_daemon_is_told_at_once) {
    const auto list = ask_for_processes(store_, std::chrono::hours{1});
    ASSERT_FALSE(list);
    EXPECT_TRUE(list.error().sentence.starts_with("the remote is not running"));
}

TEST_F(Console, an_ids_that_does_not_answer_is_told) {
    set_daemon(Life::alive, now().utc);
    const auto list = ask_for_processes(store_, std::chrono::milliseconds{1});
    ASSERT_FALSE(list);
    EXPECT_TRUE(list.error().sentence.starts_with("no answer from the IDS within 0.0 s"));
}

TEST_F(Console, rules_are_shown_in_their_order) {
    RuleSet rules{.version = 1, .rules = {wire::Rule{}, wire::Rule{}}};
    rules.rules[0].action = wire::RuleAction::allow;
    rules.rules[0].match = wire::kMatchUid;
    wire::set_text(rules.rules[0].name, "root");
    rules.rules[1].action = wire::RuleAction::deny;
    rules.rules[1].match = wire::kMatchComm;
    wire::set_text(rules.rules[1].name, "no nc");
    wire::set_text(rules.rules[1].comm, "nc");
    EXPECT_EQ(rules_table(rules).render(cli::Format::text),
              "NAME   ACTION  COMM  UID\n"
              "root   allow   any     0\n"
              "no nc  deny    nc    any\n");
}

}  // namespace
}  // namespace sgm::remote
