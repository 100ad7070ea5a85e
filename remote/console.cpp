// SPDX-License-Identifier: MIT
#include "remote/console.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <thread>

#include "cli/program.hpp"
#include "config/text.hpp"
#include "remote/service.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::remote {
namespace {

using cli::Cell;
using cli::Value;
using std::chrono::milliseconds;

constexpr UtcMs kStaleAfter = 5000;
constexpr std::int64_t kMaxNews = 1000;
constexpr milliseconds kPollPeriod{20};

template <typename T>
Value number(T value) {
    if constexpr (std::is_signed_v<T>) {
        return std::int64_t{value};
    } else {
        return std::uint64_t{value};
    }
}

template <std::size_t N>
std::string field(const std::array<char, N>& text) {
    return std::string{wire::get_text(text)};
}

std::string utc_text(UtcMs utc) {
    const std::time_t seconds = utc / 1000;
    return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03}Z", fmt::gmtime(seconds), utc % 1000);
}

std::string clock_text(UtcMs utc) {
    const std::time_t seconds = utc / 1000;
    return fmt::format("{:%H:%M:%S}.{:03}", fmt::gmtime(seconds), utc % 1000);
}

std::string age_text(UtcMs age) {
    return fmt::format("{:.1f} s ago", static_cast<double>(std::max<UtcMs>(age, 0)) / 1000);
}

std::string text(wire::Severity severity) {
    switch (severity) {
        case wire::Severity::info: return "info";
        case wire::Severity::warning: return "warning";
        case wire::Severity::critical: return "critical";
    }
    return "unknown";
}

std::string text(wire::FindingState state) {
    switch (state) {
        case wire::FindingState::raised: return "raised";
        case wire::FindingState::cleared: return "cleared";
        case wire::FindingState::event: return "event";
    }
    return "unknown";
}

std::string text(wire::IdsState state) {
    switch (state) {
        case wire::IdsState::starting: return "starting";
        case wire::IdsState::watching: return "watching";
        case wire::IdsState::unsupported: return "unsupported kernel";
        case wire::IdsState::unreadable: return "memory not readable";
        case wire::IdsState::no_kernel: return "no kernel found";
    }
    return "unknown";
}

std::string name(wire::Protection protection) {
    switch (protection) {
        case wire::Protection::unknown: break;
        case wire::Protection::unprotected: return "unprotected";
        case wire::Protection::protected_domain: return "protected";
    }
    return "unknown";
}

std::string text(wire::CheckState state) {
    switch (state) {
        case wire::CheckState::ran: return "ran";
        case wire::CheckState::skipped: return "skipped";
        case wire::CheckState::failed: return "failed";
    }
    return "unknown";
}

bool is_software(const wire::Heartbeat& beat) {
    return (beat.attestation.result.flags & wire::kAttestedSoftwareSgx) != 0;
}

std::string state_text(const wire::Heartbeat& beat) {
    const std::string reason = field(beat.reason);
    return reason.empty() ? text(beat.state) : text(beat.state) + ": " + reason;
}

std::string checks_text(const std::vector<wire::CheckCoverage>& checks) {
    std::string all;
    for (const wire::CheckCoverage& check : checks) {
        if (!all.empty()) all += ", ";
        all += field(check.check) + " " + text(check.state);
        const std::string why = field(check.why);
        if (check.state != wire::CheckState::ran && !why.empty()) all += " (" + why + ")";
    }
    return all;
}

// Without a daemon nobody knows how the IDS is, whatever the store said last.
std::string life_text(const std::optional<DaemonStatus>& status, UtcMs now) {
    if (!status) return std::string{text(Life::never_seen)};
    if (!is_running(status, now)) {
        return fmt::format("unknown: the remote is not running (last known: {})",
                           text(status->life));
    }
    return std::string{text(status->life)};
}

void add_heartbeat(cli::Record& record, const StoredHeartbeat& last, UtcMs now) {
    const wire::Heartbeat& beat = last.heartbeat.beat;
    const wire::AttestationResult& attested = beat.attestation.result;
    record.add("ids", "IDS", state_text(beat));
    record.add(
        "beat", "last beat",
        {number(beat.beat), fmt::format("{}, {}", beat.beat, age_text(now - last.received))});
    record.add("beat_age_ms", "", {number(now - last.received), ""});
    record.add("scan", "scan", number(beat.scan));
    record.add("processes", "processes", number(beat.process_count));
    record.add("open_findings", "open findings", number(beat.open_findings));
    record.add("kernel", "kernel", field(beat.kernel));
    record.add("checks", "checks", checks_text(last.heartbeat.checks));
    record.add(
        "ids_rules_version", "rules at the IDS",
        {number(beat.rules_version),
         beat.rules_version == 0 ? "none yet" : fmt::format("version {}", beat.rules_version)});
    record.add("registrations", "registrations", number(beat.registrations));
    record.add("refused_answers", "refused answers", number(beat.refused_answers));
    record.add("mrenclave", "MRENCLAVE", config::to_hex(attested.mrenclave));
    record.add("protection", "VM",
               {name(beat.protection), std::string{remote::text(beat.protection)}});
    record.add(
        "software_sgx", "SGX",
        {is_software(beat), is_software(beat) ? std::string{cli::kSoftwareSgxBanner} : "hardware"});
}

// One thing that happened, in the two forms in which it is told.
struct Event {
    UtcMs when;
    std::string severity;
    std::string kind;
    std::optional<wire::Finding> finding;
    std::string text;
};

Event event_of(const StoredAlert& alert) {
    return {.when = alert.raised,
            .severity = text(alert.alert.severity),
            .kind = alert.alert.kind,
            .finding = std::nullopt,
            .text = alert.alert.text};
}

Event event_of(const StoredFinding& stored) {
    return {.when = stored.received,
            .severity = text(stored.finding.severity),
            .kind = "finding " + text(stored.finding.state),
            .finding = stored.finding,
            .text = field(stored.finding.text)};
}

std::vector<Event> merge(const std::vector<StoredFinding>& findings,
                         const std::vector<StoredAlert>& alerts) {
    std::vector<Event> events;
    for (const StoredFinding& finding : findings)
        events.push_back(event_of(finding));
    for (const StoredAlert& alert : alerts)
        events.push_back(event_of(alert));
    std::ranges::stable_sort(events, {}, &Event::when);
    return events;
}

std::string one_line(std::string text) {
    return cli::printable(text) + "\n";
}

std::string news_of(const StoredHeartbeat& stored, cli::Format format) {
    const wire::Heartbeat& beat = stored.heartbeat.beat;
    if (format == cli::Format::text) {
        return one_line(
            fmt::format("{} beat {} {}  scan {}  {} processes  {} open findings  {}{}",
                        clock_text(stored.received), beat.beat, stored.live ? "live" : "not live",
                        beat.scan, beat.process_count, beat.open_findings, state_text(beat),
                        is_software(beat) ? fmt::format("  [{}]", cli::kSoftwareSgxBanner) : ""));
    }
    cli::Record record;
    record.add("type", "", std::string{"beat"});
    record.add("utc_ms", "", number(stored.received));
    record.add("beat", "", number(beat.beat));
    record.add("live", "", stored.live);
    record.add("scan", "", number(beat.scan));
    record.add("processes", "", number(beat.process_count));
    record.add("open_findings", "", number(beat.open_findings));
    record.add("rules_version", "", number(beat.rules_version));
    record.add("ids", "", state_text(beat));
    record.add("software_sgx", "", is_software(beat));
    return record.render(format);
}

// The cells that findings and alerts share with the `alerts` table.
cli::Record record_of(const Event& event) {
    cli::Record record;
    const auto of_finding = [&](auto member) -> Value {
        return event.finding ? member(*event.finding) : Value{};
    };
    record.add("type", "", std::string{event.finding ? "finding" : "alert"});
    record.add("utc_ms", "", number(event.when));
    record.add("severity", "", event.severity);
    record.add("kind", "", event.kind);
    record.add("pid", "", of_finding([](const auto& f) { return number(f.pid); }));
    record.add("uid", "", of_finding([](const auto& f) { return number(f.uid); }));
    record.add("comm", "", of_finding([](const auto& f) -> Value { return field(f.comm); }));
    record.add("parent_pid", "", of_finding([](const auto& f) { return number(f.parent_pid); }));
    record.add("parent_comm", "",
               of_finding([](const auto& f) -> Value { return field(f.parent_comm); }));
    record.add("rule", "", of_finding([](const auto& f) -> Value { return field(f.rule); }));
    record.add("text", "", event.text);
    return record;
}

std::string finding_details(const wire::Finding& finding) {
    if (finding.pid == 0) return "";
    return fmt::format("  [pid {} {}, uid {}, parent {} {}{}{}]", finding.pid, field(finding.comm),
                       finding.uid, finding.parent_pid, field(finding.parent_comm),
                       finding.rule[0] != '\0' ? ", rule " : "", field(finding.rule));
}

std::string news_of(const Event& event, cli::Format format) {
    if (format == cli::Format::json) return record_of(event).render(format);
    return one_line(fmt::format("{} {} {}: {}{}", clock_text(event.when),
                                event.severity == "info" ? "note" : event.severity, event.kind,
                                event.text, event.finding ? finding_details(*event.finding) : ""));
}

}  // namespace

bool is_running(const std::optional<DaemonStatus>& status, UtcMs now) {
    return status && status->running && std::abs(now - status->updated) < kStaleAfter;
}

cli::Record status(Store& store, const Settings& settings, UtcMs now) {
    const auto daemon = store.status();
    const auto last = store.last_heartbeat();
    cli::Record record;
    record.add("domain", "domain", config::uuid_text(settings.domain));
    record.add("state", "state", life_text(daemon, now));
    if (const auto boot = store.newest_boot()) {
        record.add("boot", "boot", config::to_hex(boot->boot.id));
    }
    if (last) add_heartbeat(record, *last, now);
    if (daemon) {
        if (daemon->last_sign_of_life) {
            record.add("sign_of_life_age_ms", "last sign of life",
                       {number(now - *daemon->last_sign_of_life),
                        age_text(now - *daemon->last_sign_of_life)});
        }
        record.add(
            "rules_version", "rules here",
            {number(daemon->rules_version), fmt::format("version {}", daemon->rules_version)});
        record.add("refused_messages", "refused messages",
                   {number(daemon->refused_messages),
                    daemon->refused_messages == 0
                        ? ""
                        : fmt::format("{}, the last: {}", daemon->refused_messages,
                                      daemon->last_refusal)});
    }
    record.add("running", "", {is_running(daemon, now), ""});
    return record;
}

cli::Table alerts(Store& store, std::int64_t limit) {
    std::vector<Event> events = merge(store.findings(0, limit), store.alerts(0, limit));
    const auto surplus = std::max<std::ptrdiff_t>(std::ssize(events) - limit, 0);
    events.erase(events.begin(), events.begin() + surplus);
    cli::Table table{{{"utc_ms", "TIME"},
                      {"severity", "SEVERITY"},
                      {"kind", "KIND"},
                      {"pid", "PID", cli::Align::right},
                      {"uid", "UID", cli::Align::right},
                      {"comm", "COMM"},
                      {"parent_pid", "PPID", cli::Align::right},
                      {"parent_comm", "PARENT"},
                      {"rule", "RULE"},
                      {"text", "TEXT"}}};
    for (const Event& event : events) {
        const Cell when{number(event.when), utc_text(event.when)};
        if (event.finding && event.finding->pid != 0) {
            const wire::Finding& finding = *event.finding;
            table.add({when, event.severity, event.kind, number(finding.pid), number(finding.uid),
                       field(finding.comm), number(finding.parent_pid), field(finding.parent_comm),
                       field(finding.rule), event.text});
        } else {
            table.add({when, event.severity, event.kind, Cell{}, Cell{}, Cell{}, Cell{}, Cell{},
                       Cell{}, event.text});
        }
    }
    return table;
}

cli::Table rules_table(const RuleSet& rules) {
    cli::Table table{{{"name", "NAME"},
                      {"action", "ACTION"},
                      {"comm", "COMM"},
                      {"uid", "UID", cli::Align::right}}};
    for (const wire::Rule& rule : rules.rules) {
        const bool by_comm = (rule.match & wire::kMatchComm) != 0;
        const bool by_uid = (rule.match & wire::kMatchUid) != 0;
        table.add({field(rule.name),
                   std::string{rule.action == wire::RuleAction::deny ? "deny" : "allow"},
                   by_comm ? Cell{field(rule.comm)} : Cell{Value{}, "any"},
                   by_uid ? Cell{number(rule.uid)} : Cell{Value{}, "any"}});
    }
    return table;
}

std::string task_state(std::uint32_t bits) {
    constexpr std::uint32_t kInterruptible = 0x1, kUninterruptible = 0x2, kStopped = 0x4,
                            kTraced = 0x8, kExitDead = 0x10, kExitZombie = 0x20, kParked = 0x40,
                            kDead = 0x80, kNoLoad = 0x400;
    if (bits == 0) return "R";
    if ((bits & kExitZombie) != 0) return "Z";
    if ((bits & (kExitDead | kDead)) != 0) return "X";
    if ((bits & kTraced) != 0) return "t";
    if ((bits & kStopped) != 0) return "T";
    if ((bits & kParked) != 0) return "P";
    if ((bits & kUninterruptible) != 0) return (bits & kNoLoad) != 0 ? "I" : "D";
    if ((bits & kInterruptible) != 0) return "S";
    return fmt::format("{:#x}", bits);
}

config::Result<ProcessList> process_list(Bytes bytes) {
    Reader reader{bytes};
    const auto answer = reader.take<wire::Answer>();
    if (!answer) return std::unexpected{config::Error{"the answer in the store is truncated"}};
    if (answer->status != wire::AnswerStatus::ok) {
        return std::unexpected{config::Error{"the IDS cannot list the processes: " +
                                             cli::printable(field(answer->reason))}};
    }
    ProcessList list{.table = cli::Table{{{"pid", "PID", cli::Align::right},
                                          {"tgid", "TGID", cli::Align::right},
                                          {"ppid", "PPID", cli::Align::right},
                                          {"uid", "UID", cli::Align::right},
                                          {"state", "STATE"},
                                          {"start_time_ns", "START", cli::Align::right},
                                          {"comm", "COMM"}}},
                     .missing = 0};
    std::uint32_t rows = 0;
    for (; const auto row = reader.take<wire::ProcessRow>(); ++rows) {
        const double start = static_cast<double>(row->start_time_ns) / 1e9;
        list.table.add({number(row->pid),
                        number(row->tgid),
                        number(row->ppid),
                        number(row->uid),
                        task_state(row->state),
                        {number(row->start_time_ns), fmt::format("{:.3f} s", start)},
                        field(row->comm)});
    }
    list.missing = answer->total_rows > rows ? answer->total_rows - rows : 0;
    return list;
}

config::Result<ProcessList> ask_for_processes(Store& store, milliseconds patience) {
    if (!is_running(store.status(), now().utc)) {
        return std::unexpected{config::Error{
            "the remote is not running, so nobody can ask the IDS: start it with `sgmonitor "
            "remote run`"}};
    }
    const auto deadline = std::chrono::steady_clock::now() + patience;
    const std::int64_t id = store.add_query(wire::QueryKind::processes, now().utc);
    while (std::chrono::steady_clock::now() < deadline) {
        const auto query = store.query(id);
        if (query && query->state == QueryState::answered) return process_list(query->answer);
        if (query && query->state == QueryState::failed) {
            return std::unexpected{config::Error{"the IDS cannot be asked: " + query->failure}};
        }
        std::this_thread::sleep_for(kPollPeriod);
    }
    return std::unexpected{config::Error{
        fmt::format("no answer from the IDS within {:.1f} s: `sgmonitor remote status` tells "
                    "whether it is alive",
                    static_cast<double>(patience.count()) / 1000)}};
}

Follower::Follower(Store& store) : store_{store} {
    const auto newest = [](const auto& rows) { return rows.empty() ? 0 : rows.back().row; };
    heartbeat_ = newest(store.heartbeats(0, 1));
    finding_ = newest(store.findings(0, 1));
    alert_ = newest(store.alerts(0, 1));
}

std::vector<std::string> Follower::news(cli::Format format) {
    const auto heartbeats = store_.heartbeats(heartbeat_, kMaxNews);
    const auto findings = store_.findings(finding_, kMaxNews);
    const auto alerts = store_.alerts(alert_, kMaxNews);
    if (!heartbeats.empty()) heartbeat_ = heartbeats.back().row;
    if (!findings.empty()) finding_ = findings.back().row;
    if (!alerts.empty()) alert_ = alerts.back().row;

    std::vector<std::pair<UtcMs, std::string>> lines;
    for (const StoredHeartbeat& heartbeat : heartbeats) {
        lines.emplace_back(heartbeat.received, news_of(heartbeat, format));
    }
    for (const Event& event : merge(findings, alerts)) {
        lines.emplace_back(event.when, news_of(event, format));
    }
    std::ranges::stable_sort(lines, {}, [](const auto& line) { return line.first; });
    std::vector<std::string> texts;
    for (auto& [when, line] : lines)
        texts.push_back(std::move(line));
    return texts;
}

}  // namespace sgm::remote
