// SPDX-License-Identifier: MIT
#include "detect/checks/process_rules.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sgm::detect {
namespace {

wire::ProcessRow process(std::int32_t pid, std::string_view comm, std::uint32_t uid = 1000,
                         std::int32_t ppid = 1, std::uint64_t start = 5) {
    wire::ProcessRow row{};
    row.task = 0xffff'8880'0000'0000 + static_cast<std::uint64_t>(pid) * 4096;
    row.start_time_ns = start;
    row.pid = row.tgid = pid;
    row.ppid = ppid;
    row.uid = uid;
    wire::set_text(row.comm, comm);
    return row;
}

Rules deny(std::string_view comm, std::string_view name = "no miners", std::uint64_t version = 1) {
    wire::Rule rule{};
    rule.action = wire::RuleAction::deny;
    rule.match = wire::kMatchComm;
    wire::set_text(rule.comm, comm);
    wire::set_text(rule.name, name);
    return {.version = version, .rules = {rule}};
}

class ProcessRulesTest : public ::testing::Test {
  protected:
    ProcessRulesTest() { check_.set_rules(deny("xmrig")); }

    std::vector<wire::Finding> scan(const std::vector<wire::ProcessRow>& processes) {
        std::vector<wire::Finding> findings;
        clock_ += 1000;
        coverage_ = check_.run({.processes = processes, .clock = clock_}, findings);
        return findings;
    }

    const wire::ProcessRow init_ = process(1, "init", 0, 0);
    const wire::ProcessRow shell_ = process(10, "bash");
    const wire::ProcessRow miner_ = process(20, "xmrig", 1000, 10);
    ProcessRules check_;
    wire::CheckCoverage coverage_{};
    std::uint64_t clock_ = 0;
};

TEST_F(ProcessRulesTest, a_forbidden_process_is_found_in_the_first_scan_with_parent_and_rule) {
    EXPECT_TRUE(scan({init_, shell_}).empty());
    const auto findings = scan({init_, shell_, miner_});
    ASSERT_EQ(findings.size(), 1u);
    const wire::Finding& finding = findings[0];
    EXPECT_EQ(finding.state, wire::FindingState::raised);
    EXPECT_EQ(finding.severity, wire::Severity::critical);
    EXPECT_EQ(finding.hypervisor_clock, clock_);
    EXPECT_EQ(finding.pid, 20);
    EXPECT_EQ(finding.parent_pid, 10);
    EXPECT_EQ(finding.uid, 1000u);
    EXPECT_EQ(wire::get_text(finding.comm), "xmrig");
    EXPECT_EQ(wire::get_text(finding.parent_comm), "bash");
    EXPECT_EQ(wire::get_text(finding.check), "process-rules");
    EXPECT_EQ(wire::get_text(finding.rule), "no miners");
    EXPECT_EQ(wire::get_text(finding.text),
              "The forbidden process 'xmrig' (pid 20, uid 1000) runs, started by 'bash' (pid 10, "
              "uid 1000).");
    EXPECT_EQ(coverage_.state, wire::CheckState::ran);
    EXPECT_EQ(check_.open_findings(), 1u);
}

TEST_F(ProcessRulesTest, it_is_told_once_and_clears_under_the_same_id_when_the_process_ends) {
    const auto raised = scan({init_, shell_, miner_});
    ASSERT_EQ(raised.size(), 1u);
    EXPECT_TRUE(scan({init_, shell_, miner_}).empty());
    EXPECT_TRUE(scan({init_, shell_}).empty());
    const auto cleared = scan({init_, shell_});
    ASSERT_EQ(cleared.size(), 1u);
    EXPECT_EQ(cleared[0].state, wire::FindingState::cleared);
    EXPECT_EQ(cleared[0].id, raised[0].id);
    EXPECT_EQ(cleared[0].pid, 20);
    EXPECT_EQ(check_.open_findings(), 0u);
}

TEST_F(ProcessRulesTest, a_single_scan_that_lacks_the_process_does_not_clear_it) {
    ASSERT_EQ(scan({miner_}).size(), 1u);
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(scan({init_}).empty());
        EXPECT_TRUE(scan({init_, miner_}).empty());
    }
    EXPECT_EQ(check_.open_findings(), 1u);
}

TEST_F(ProcessRulesTest, a_reused_pid_is_another_process) {
    const auto first = scan({init_, miner_});
    auto next = miner_;
    next.start_time_ns += 1;
    const auto second = scan({init_, next});
    ASSERT_EQ(second.size(), 1u);
    EXPECT_NE(second[0].id, first[0].id);
    const auto cleared = scan({init_, next});
    ASSERT_EQ(cleared.size(), 1u);
    EXPECT_EQ(cleared[0].id, first[0].id);
    EXPECT_EQ(check_.open_findings(), 1u);
}

TEST_F(ProcessRulesTest, a_process_that_renames_itself_stays_found) {
    ASSERT_EQ(scan({init_, miner_}).size(), 1u);
    auto renamed = miner_;
    wire::set_text(renamed.comm, "sshd");
    EXPECT_TRUE(scan({init_, renamed}).empty());
    EXPECT_TRUE(scan({init_, renamed}).empty());
    EXPECT_EQ(check_.open_findings(), 1u);
}

TEST_F(ProcessRulesTest, a_process_that_takes_a_forbidden_name_later_is_found) {
    auto disguised = miner_;
    wire::set_text(disguised.comm, "loader");
    EXPECT_TRUE(scan({init_, disguised}).empty());
    EXPECT_EQ(scan({init_, miner_}).size(), 1u);
}

TEST_F(ProcessRulesTest, new_rules_clear_what_they_no_longer_forbid) {
    const auto raised = scan({init_, shell_, miner_});
    check_.set_rules(deny("bash", "no shells", 2));
    const auto findings = scan({init_, shell_, miner_});
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_EQ(findings[0].state, wire::FindingState::cleared);
    EXPECT_EQ(findings[0].id, raised[0].id);
    EXPECT_EQ(findings[1].state, wire::FindingState::raised);
    EXPECT_EQ(findings[1].pid, 10);
}

TEST_F(ProcessRulesTest, ids_are_the_same_in_every_run_and_leave_the_top_bit_free) {
    ProcessRules other;
    other.set_rules(deny("xmrig", "another name"));
    std::vector<wire::Finding> findings;
    const std::vector<wire::ProcessRow> processes{miner_};
    static_cast<void>(other.run({.processes = processes, .clock = 9}, findings));
    const auto mine = scan({init_, miner_});
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].id, mine[0].id);
    EXPECT_EQ(mine[0].id >> 63, 0u);
}

TEST_F(ProcessRulesTest, without_rules_it_says_that_it_was_skipped) {
    ProcessRules fresh;
    std::vector<wire::Finding> findings;
    const std::vector<wire::ProcessRow> processes{miner_};
    const auto coverage = fresh.run({.processes = processes, .clock = 1}, findings);
    EXPECT_EQ(coverage.state, wire::CheckState::skipped);
    EXPECT_EQ(wire::get_text(coverage.check), "process-rules");
    EXPECT_FALSE(wire::get_text(coverage.why).empty());
    EXPECT_TRUE(findings.empty());
}

TEST_F(ProcessRulesTest, a_scan_that_failed_is_told_with_its_reason) {
    const auto coverage = check_.not_run(wire::CheckState::failed, "a list is torn");
    EXPECT_EQ(coverage.state, wire::CheckState::failed);
    EXPECT_EQ(wire::get_text(coverage.why), "a list is torn");
}

TEST_F(ProcessRulesTest, beyond_the_bound_one_finding_says_that_there_are_more) {
    std::vector<wire::ProcessRow> processes;
    for (std::int32_t pid = 1; pid <= 1030; ++pid)
        processes.push_back(process(pid, "xmrig"));
    const auto findings = scan(processes);
    ASSERT_EQ(findings.size(), 1025u);
    EXPECT_EQ(findings.back().pid, 0);
    EXPECT_EQ(check_.open_findings(), 1025u);
    std::set<std::uint64_t> ids;
    for (const wire::Finding& finding : findings)
        ids.insert(finding.id);
    EXPECT_EQ(ids.size(), findings.size());
    EXPECT_TRUE(scan(processes).empty());

    // Room becomes free: the rest are found one by one, and nothing is left over.
    processes.erase(processes.begin(), processes.begin() + 100);
    EXPECT_TRUE(scan(processes).empty());
    const auto later = scan(processes);
    EXPECT_EQ(later.size(), 100u + 6 + 1);
    EXPECT_EQ(later.back().id, findings.back().id);
    EXPECT_EQ(later.back().state, wire::FindingState::cleared);
    EXPECT_EQ(check_.open_findings(), 930u);
}

TEST_F(ProcessRulesTest, what_the_guest_chose_cannot_break_the_sentence) {
    auto hostile = miner_;
    auto parent = shell_;
    parent.comm.fill('\x1b');  // not even terminated
    const auto findings = scan({init_, parent, hostile});
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(wire::get_text(findings[0].text).find('\x1b'), std::string_view::npos);
}

}  // namespace
}  // namespace sgm::detect
