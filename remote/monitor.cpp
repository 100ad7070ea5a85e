// SPDX-License-Identifier: MIT
#include "remote/monitor.hpp"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "cli/output.hpp"
#include "config/text.hpp"
#include "crypto/random.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::remote {
namespace {

using std::chrono::milliseconds;
using wire::Severity;

// A beat that repeats an older one proves nothing that still matters: dead comes at 3 T.
constexpr std::size_t kRememberedChallenges = 8;
// An IDS starts with two beats before it listens: at its registration and after its first scan.
constexpr int kMaxBeatsWithoutRules = 4;
constexpr milliseconds kStatusPeriod{1000};
// A query that nobody fetched for so long: whoever asked has gone.
constexpr UtcMs kMaxQueryAge = 60'000;

spdlog::level::level_enum log_level(Severity severity) {
    switch (severity) {
        case Severity::info: return spdlog::level::info;
        case Severity::warning: return spdlog::level::warn;
        case Severity::critical: return spdlog::level::err;
    }
    return spdlog::level::err;
}

bool is_sound(const wire::Finding& finding) {
    const auto state = static_cast<std::uint32_t>(finding.state);
    const auto severity = static_cast<std::uint32_t>(finding.severity);
    return state >= 1 && state <= 3 && severity >= 1 && severity <= 3;
}

Observation describe(const Liveness::Transition& transition) {
    const double seconds = static_cast<double>(transition.silence.count()) / 1000;
    switch (transition.to) {
        case Life::alive:
            if (transition.from == Life::never_seen) {
                return {Severity::info, "alive", "the IDS is alive"};
            }
            return {Severity::info, "alive",
                    fmt::format("the IDS is alive again, after {:.1f} s", seconds)};
        case Life::suspect:
            return {Severity::warning, "suspect",
                    fmt::format("no live heartbeat for {:.1f} s", seconds)};
        case Life::dead:
            return {Severity::critical, "dead",
                    fmt::format("the IDS is dead or cut off: no live heartbeat for {:.1f} s; the "
                                "VM is not watched",
                                seconds)};
        case Life::never_seen: break;
    }
    return {Severity::critical, "dead", "never seen"};
}

}  // namespace

Monitor::Monitor(const Options& options, OwnerChannel channel, RuleSet rules, Store& store, Now now)
    : options_{options},
      channel_{std::move(channel)},
      trust_{.authority = options.authority,
             .domain = channel_.domain(),
             .owner = channel_.public_keys(),
             .allow_software_sgx = options.allow_software_sgx},
      rules_{std::move(rules)},
      store_{store},
      liveness_{options.interval} {
    if (const auto status = store_.status()) {
        liveness_.resume(status->life, now.instant);
        last_sign_of_life_ = status->last_sign_of_life;
    }
    if (auto known = store_.newest_boot()) {
        boot_ = std::move(known->boot);
        command_sequence_ = known->command_sequence;
        liveness_.heard(now.instant);
        challenge(now);
    }
    save_status(now, true);
}

std::expected<void, Monitor::Refused> Monitor::take_message(Bytes message, Now now) {
    const auto opened = channel_.open(message);
    if (!opened) {
        const ids::MessageError error = opened.error();
        note_refusal({.reason = std::string{text(error)}}, now);
        return std::unexpected{Refused{.malformed = error == ids::MessageError::bad_size ||
                                                    error == ids::MessageError::bad_header ||
                                                    error == ids::MessageError::bad_body,
                                       .reason = std::string{text(error)}}};
    }
    if (auto taken = take(*opened, now); !taken) {
        note_refusal(taken.error(), now);
        return std::unexpected{Refused{.malformed = false, .reason = taken.error().reason}};
    }
    return {};
}

std::expected<void, Refusal> Monitor::take(const ids::OpenedMessage& message, Now now) {
    switch (message.kind) {
        case wire::OwnerKind::heartbeat: return take_beat(message, now);
        case wire::OwnerKind::finding:
        case wire::OwnerKind::answer: return take_other(message, now);
        case wire::OwnerKind::challenge:
        case wire::OwnerKind::query:
        case wire::OwnerKind::rules: break;
    }
    return std::unexpected{Refusal{.reason = "a message of a kind that only owners send"}};
}

std::expected<void, Refusal> Monitor::take_beat(const ids::OpenedMessage& message, Now now) {
    const bool is_new = !boot_ || boot_->id != message.header.boot;
    if (is_new && store_.knows_boot(message.header.boot)) {
        return std::unexpected{Refusal{.reason = "a heartbeat of an earlier start of the IDS"}};
    }
    auto taken = take_heartbeat(is_new ? std::nullopt : boot_, message, trust_);
    if (!taken) return std::unexpected{taken.error()};

    const wire::Heartbeat& beat = taken->boot.last.beat;
    std::optional<Instant> alive_at;
    if (taken->progress) alive_at = proven_alive(beat.remote_nonce, now.instant);
    store_.atomically([&] {
        if (is_new) note_recalled_rules(beat, now);
        note_protection(beat, is_new, now);
        store_.save_boot(taken->boot);
        store_.add_heartbeat(taken->boot, now.utc, alive_at.has_value());
        for (const Observation& observation : taken->observations)
            raise(observation, now);
    });
    boot_ = std::move(taken->boot);
    liveness_.heard(now.instant);
    last_alarm_.clear();
    if (is_new) {
        beats_without_rules_ = 0;
        command_sequence_ = 0;
        commands_.clear();
        challenge(now);
    }
    if (beat.rules_version < rules_.version) {
        commands_.set_rules(rules_.payload());
        note_older_rules(beat.rules_version, now);
    } else {
        beats_without_rules_ = 0;
    }
    if (beat.rules_version > rules_.version) note_newer_rules(beat.rules_version, now);
    if (alive_at) {
        const auto ago = std::chrono::duration_cast<milliseconds>(now.instant - *alive_at);
        last_sign_of_life_ = now.utc - ago.count();
        const auto transition = liveness_.sign_of_life(*alive_at, now.instant);
        if (transition) note_life(*transition, now);
    }
    return {};
}

std::expected<void, Refusal> Monitor::take_other(const ids::OpenedMessage& message, Now now) {
    if (!boot_ || boot_->id != message.header.boot) {
        return std::unexpected{
            Refusal{.reason = "a message of a start of the IDS that no heartbeat has introduced"}};
    }
    Reader reader{message.payload};
    std::optional<wire::Finding> finding;
    if (message.kind == wire::OwnerKind::finding) {
        finding = reader.take<wire::Finding>();
        if (!finding || !reader.empty() || !is_sound(*finding)) {
            return std::unexpected{Refusal{.reason = "a malformed finding"}};
        }
    }
    Boot boot = *boot_;
    const auto observations = take_in_sequence(boot, message);
    if (!observations) return std::unexpected{observations.error()};
    store_.atomically([&] {
        store_.save_boot(boot);
        for (const Observation& observation : *observations)
            raise(observation, now);
        if (finding) {
            store_.add_finding(boot.id, now.utc, *finding);
        } else {
            take_answer(message.payload);
        }
    });
    boot_ = std::move(boot);
    if (finding) {
        spdlog::log(log_level(finding->severity), "finding: {}",
                    cli::printable(wire::get_text(finding->text)));
    }
    return {};
}

// When the IDS certainly lived: it repeated a nonce that nobody knew before it was issued. A host
// can hold a beat back and deliver it later, so a beat counts from its arrival, but from no later
// than one interval after its nonce was issued: holding back gains it at most that one interval.
std::optional<Instant> Monitor::proven_alive(const wire::Nonce& nonce, Instant received) const {
    const auto issued = std::ranges::find(challenges_, nonce, &Challenge::nonce);
    if (issued == challenges_.end()) return std::nullopt;
    return std::min(received, issued->issued + options_.interval);
}

void Monitor::take_answer(Bytes payload) {
    Reader reader{payload};
    const auto answer = reader.take<wire::Answer>();
    const bool sound = answer && answer->row_size == sizeof(wire::ProcessRow) &&
                       std::uint64_t{answer->row_count} * answer->row_size == reader.rest().size();
    // Authentic, so a malformed one is an IDS's error, not an attack; an answer to a query that
    // nobody asks any more is no error at all.
    if (!sound) {
        spdlog::error("the IDS sent a malformed answer");
    } else if (!store_.answer_query(static_cast<std::int64_t>(answer->query), payload)) {
        spdlog::info("an answer came for query {}, which does not wait for one", answer->query);
    }
}

void Monitor::note_refusal(const Refusal& refusal, Now now) {
    ++refused_;
    last_refusal_ = refusal.reason;
    spdlog::warn("refused a message: {}", refusal.reason);
    // The host can repeat what alarms as often as it likes; the owner hears it once.
    if (refusal.alarming && refusal.reason != last_alarm_) {
        last_alarm_ = refusal.reason;
        raise({.severity = Severity::critical,
               .kind = "refused",
               .text = "a message was refused: " + refusal.reason},
              now);
    }
}

void Monitor::note_life(const Liveness::Transition& transition, Now now) {
    raise(describe(transition), now);
    save_status(now, true);
}

// What was protected and is not any more may be another start of the IDS, over another VM of this
// uuid: it is compared with what was heard last, whoever said it.
void Monitor::note_protection(const wire::Heartbeat& beat, bool is_new, Now now) {
    const auto before = boot_ ? boot_->last.beat.protection : wire::Protection::unknown;
    if (!is_new && beat.protection == before) return;
    const bool is_protected = beat.protection == wire::Protection::protected_domain;
    const bool is_lost = !is_protected && before == wire::Protection::protected_domain;
    const bool is_wrong = is_lost || (!is_protected && options_.require_protection);
    raise({.severity = is_wrong ? Severity::critical : Severity::info,
           .kind = "protection",
           .text = fmt::format("{}{}{}", text(beat.protection),
                               is_lost ? "; it did keep it out before" : "",
                               is_wrong && options_.require_protection
                                   ? "; remote.toml requires it (require_protection)"
                                   : "")},
          now);
}

// At its start an IDS has the rules that its host gives back, and shows them in its first beat.
// What is sealed cannot be changed, but an older one in its place opens just as well: only the
// owner can tell. An IDS that is another program, or on another machine, opens nothing of it.
void Monitor::note_recalled_rules(const wire::Heartbeat& first, Now now) {
    const std::uint64_t highest = store_.highest_rules_version();
    if (first.rules_version >= highest) return;
    const bool none = first.rules_version == 0;
    const bool same_program = boot_ && boot_->last.beat.attestation.result.mrenclave ==
                                           first.attestation.result.mrenclave;
    const std::string had =
        fmt::format("it had version {} before, and gets version {} now", highest, rules_.version);
    if (none && !same_program) {
        raise({.severity = Severity::info,
               .kind = "rules",
               .text = "another program than before is the IDS, without rules: " + had},
              now);
    } else if (none) {
        raise({.severity = Severity::warning,
               .kind = "rules",
               .text = "the IDS came back without its rules: its host gave back none that it "
                       "sealed, or it runs on another machine; " +
                       had},
              now);
    } else {
        raise({.severity = Severity::critical,
               .kind = "rules",
               .text = fmt::format("rollback: the IDS came back with rules version {}, because its "
                                   "host gave back an older record; {}",
                                   first.rules_version, had)},
              now);
    }
}

// Each beat has them sent again, and an IDS that takes them beats at once: only a host that keeps
// just them back can make so many beats show the old ones.
void Monitor::note_older_rules(std::uint64_t version, Now now) {
    if (++beats_without_rules_ != kMaxBeatsWithoutRules) return;
    raise({.severity = Severity::critical,
           .kind = "rules",
           .text = fmt::format("{} beats in a row show rules version {}, not version {}: the host "
                               "keeps the rules from the IDS",
                               beats_without_rules_, version, rules_.version)},
          now);
}

void Monitor::note_newer_rules(std::uint64_t version, Now now) {
    if (newer_rules_told_) return;
    newer_rules_told_ = true;
    raise(
        {.severity = Severity::warning,
         .kind = "rules",
         .text = fmt::format("the IDS has rules version {}, so it will not take version {}: raise "
                             "`version` in the rules file and start the remote again",
                             version, rules_.version)},
        now);
}

void Monitor::raise(const Observation& alert, Now now) {
    spdlog::log(log_level(alert.severity), "{}", cli::printable(alert.text));
    store_.add_alert(now.utc, alert);
}

void Monitor::tick(Now now) {
    if (const auto transition = liveness_.check(now.instant)) note_life(*transition, now);
    if (boot_ &&
        (challenges_.empty() || now.instant >= challenges_.front().issued + options_.interval)) {
        challenge(now);
    }
    take_queries(now);
    if (now.instant >= next_status_) save_status(now, true);
}

void Monitor::challenge(Now now) {
    Challenge fresh{.nonce = {}, .issued = now.instant};
    if (const auto random = crypto::random_bytes(fresh.nonce); !random) {
        spdlog::error("no challenge: {}", text(random.error()));
        return;
    }
    challenges_.push_front(fresh);
    if (challenges_.size() > kRememberedChallenges) challenges_.pop_back();
    commands_.set_challenge(fresh.nonce);
}

void Monitor::take_queries(Now now) {
    for (const StoredQuery& query : store_.waiting_queries()) {
        if (!boot_) {
            store_.fail_query(query.id, "no IDS has reported yet");
        } else if (now.utc - query.asked > kMaxQueryAge) {
            store_.fail_query(query.id, "asked too long ago");
        } else if (commands_.add_query({.id = static_cast<std::uint64_t>(query.id),
                                        .kind = query.kind,
                                        .reserved = 0})) {
            store_.set_query_sent(query.id);
        }
    }
}

std::optional<std::vector<std::uint8_t>> Monitor::next_command() {
    if (!boot_) return std::nullopt;
    const auto command = commands_.take();
    if (!command) return std::nullopt;
    // Recorded before it is used, so that no restart of ours can use it again.
    store_.save_command_sequence(boot_->id, command_sequence_ + 1);
    ++command_sequence_;
    auto sealed = channel_.seal(*command, *boot_, command_sequence_);
    if (!sealed) {
        spdlog::error("a command could not be sealed: {}", text(sealed.error()));
        return std::nullopt;
    }
    return std::move(*sealed);
}

void Monitor::save_status(Now now, bool running) {
    store_.set_status({.updated = now.utc,
                       .running = running,
                       .life = liveness_.life(),
                       .last_sign_of_life = last_sign_of_life_,
                       .rules_version = rules_.version,
                       .refused_messages = refused_,
                       .last_refusal = last_refusal_});
    next_status_ = now.instant + kStatusPeriod;
}

void Monitor::end(Now now) {
    save_status(now, false);
}

}  // namespace sgm::remote
