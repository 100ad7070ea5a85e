// SPDX-License-Identifier: MIT
#include "detect/checks/process_rules.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "detect/finding.hpp"
#include "guest/text.hpp"

namespace sgm::detect {
namespace {

constexpr wire::Severity kSeverity = wire::Severity::critical;
constexpr std::string_view kUnreadRules = "no rules from the owner yet";

bool same_process(const wire::ProcessRow& a, const wire::ProcessRow& b) {
    return a.task == b.task && a.pid == b.pid && a.start_time_ns == b.start_time_ns;
}

const wire::ProcessRow* find_process(const Scan& scan, const wire::ProcessRow& process) {
    const auto found = std::ranges::find_if(
        scan.processes, [&](const auto& row) { return same_process(row, process); });
    return found == scan.processes.end() ? nullptr : &*found;
}

const wire::ProcessRow* find_pid(const Scan& scan, std::int32_t pid) {
    const auto found =
        std::ranges::find_if(scan.processes, [&](const auto& row) { return row.pid == pid; });
    return found == scan.processes.end() ? nullptr : &*found;
}

std::string quoted(const std::array<char, 16>& comm) {
    return "'" + guest::printable(wire::get_text(comm), comm.size()) + "'";
}

std::string process_text(const wire::ProcessRow& process) {
    return quoted(process.comm) + " (pid " +
           guest::decimal(static_cast<std::uint64_t>(process.pid)) + ", uid " +
           guest::decimal(process.uid) + ")";
}

wire::Finding process_finding(const wire::ProcessRow& process, const wire::ProcessRow* parent,
                              const wire::Rule& rule, std::uint64_t clock) {
    wire::Finding finding{};
    finding.id = finding_id(ProcessRules::kId, {bytes_of(process.task), bytes_of(process.pid),
                                                bytes_of(process.start_time_ns)});
    finding.hypervisor_clock = clock;
    finding.state = wire::FindingState::raised;
    finding.severity = kSeverity;
    finding.pid = process.pid;
    finding.parent_pid = process.ppid;
    finding.uid = process.uid;
    finding.comm = process.comm;
    if (parent != nullptr) finding.parent_comm = parent->comm;
    wire::set_text(finding.check, ProcessRules::kId);
    finding.rule = rule.name;
    std::string text = "The forbidden process " + process_text(process) + " runs";
    if (parent != nullptr) text += ", started by " + process_text(*parent);
    wire::set_text(finding.text, text + ".");
    return finding;
}

wire::Finding cleared(wire::Finding finding, std::uint64_t clock, std::string_view text) {
    finding.hypervisor_clock = clock;
    finding.state = wire::FindingState::cleared;
    wire::set_text(finding.text, text);
    return finding;
}

}  // namespace

wire::CheckCoverage ProcessRules::run(const Scan& scan, std::vector<wire::Finding>& findings) {
    if (rules_.version == 0) return coverage(wire::CheckState::skipped, kUnreadRules);
    clear_what_ended(scan, findings);
    raise_what_is_new(scan, findings);
    return coverage(wire::CheckState::ran);
}

void ProcessRules::clear_what_ended(const Scan& scan, std::vector<wire::Finding>& findings) {
    std::erase_if(open_, [&](Open& open) {
        const wire::ProcessRow* now = find_process(scan, open.process);
        if (now == nullptr) {
            if (!std::exchange(open.missed, true)) return false;
            findings.push_back(
                cleared(open.finding, scan.clock,
                        "The process " + process_text(open.process) + " has ended."));
            return true;
        }
        open.missed = false;
        if (forbidding_rule(rules_, open.process.comm, open.process.uid) != nullptr ||
            forbidding_rule(rules_, now->comm, now->uid) != nullptr)
            return false;
        findings.push_back(
            cleared(open.finding, scan.clock,
                    "The owner's rules no longer forbid the process " + process_text(*now) + "."));
        return true;
    });
}

void ProcessRules::raise_what_is_new(const Scan& scan, std::vector<wire::Finding>& findings) {
    bool overflow = false;
    for (const wire::ProcessRow& process : scan.processes) {
        const wire::Rule* rule = forbidding_rule(rules_, process.comm, process.uid);
        if (rule == nullptr || std::ranges::any_of(open_, [&](const Open& open) {
                return same_process(open.process, process);
            }))
            continue;
        if (open_.size() == kMaxOpenFindings) {
            overflow = true;
            break;
        }
        open_.push_back(
            {.process = process,
             .finding = process_finding(process, find_pid(scan, process.ppid), *rule, scan.clock)});
        findings.push_back(open_.back().finding);
    }
    set_overflow(overflow, scan.clock, findings);
}

void ProcessRules::set_overflow(bool overflow, std::uint64_t clock,
                                std::vector<wire::Finding>& findings) {
    if (overflow == std::exchange(overflow_, overflow)) return;
    constexpr std::string_view kThing = "more";
    wire::Finding finding{};
    finding.id = finding_id(
        kId, {Bytes{reinterpret_cast<const std::uint8_t*>(kThing.data()), kThing.size()}});
    finding.hypervisor_clock = clock;
    finding.state = overflow ? wire::FindingState::raised : wire::FindingState::cleared;
    finding.severity = kSeverity;
    wire::set_text(finding.check, kId);
    wire::set_text(finding.text, overflow ? "More than 1024 forbidden processes run; the rest are "
                                            "not listed one by one."
                                          : "All forbidden processes are listed again.");
    findings.push_back(finding);
}

}  // namespace sgm::detect
