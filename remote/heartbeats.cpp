// SPDX-License-Identifier: MIT
#include "remote/heartbeats.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "cli/program.hpp"
#include "config/text.hpp"
#include "crypto/hash.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::remote {
namespace {

using wire::Severity;

std::unexpected<Refusal> refuse(std::string reason) {
    return std::unexpected{Refusal{.reason = std::move(reason)}};
}

std::unexpected<Refusal> refuse_with_alarm(std::string reason) {
    return std::unexpected{Refusal{.reason = std::move(reason), .alarming = true}};
}

bool is_known(wire::IdsState state) {
    switch (state) {
        case wire::IdsState::starting:
        case wire::IdsState::watching:
        case wire::IdsState::unsupported:
        case wire::IdsState::unreadable:
        case wire::IdsState::no_kernel: return true;
    }
    return false;
}

bool is_known(wire::Protection protection) {
    switch (protection) {
        case wire::Protection::unknown:
        case wire::Protection::unprotected:
        case wire::Protection::protected_domain: return true;
    }
    return false;
}

bool is_known(wire::CheckState state) {
    return state == wire::CheckState::ran || state == wire::CheckState::skipped ||
           state == wire::CheckState::failed;
}

Observation describe_state(const wire::Heartbeat& beat) {
    const std::string_view kernel = wire::get_text(beat.kernel);
    const std::string_view reason = wire::get_text(beat.reason);
    switch (beat.state) {
        case wire::IdsState::starting:
            return {Severity::info, "state", "the IDS is starting: its first scan is under way"};
        case wire::IdsState::watching:
            return {Severity::info, "state", fmt::format("the IDS watches kernel {}", kernel)};
        case wire::IdsState::unsupported:
            return {Severity::critical, "state",
                    fmt::format("unsupported kernel: {}; the VM is not watched", reason)};
        case wire::IdsState::unreadable:
            return {Severity::critical, "state",
                    fmt::format("the VM's memory cannot be read: {}; it is not watched", reason)};
        case wire::IdsState::no_kernel:
            return {Severity::warning, "state",
                    fmt::format("no Linux kernel found yet: {}", reason)};
    }
    return {Severity::critical, "state", "unknown state"};
}

// How many messages did not arrive before this authentic one. A message that comes late counts as
// missing when its successor comes, and is refused as a replay when it comes itself.
std::expected<std::uint64_t, Refusal> count_missing(std::uint64_t last, std::uint64_t sequence) {
    if (sequence > last) return sequence - last - 1;
    return refuse(
        fmt::format("replayed or late: message {} came after message {}", sequence, last));
}

void observe_gap(std::uint64_t missing, std::uint64_t sequence,
                 std::vector<Observation>& observations) {
    if (missing == 0) return;
    observations.push_back({Severity::warning, "gap",
                            fmt::format("{} message{} of the IDS did not arrive, before message {}",
                                        missing, missing == 1 ? "" : "s", sequence)});
}

std::expected<void, Refusal> check_chain(const Boot* known, const wire::Heartbeat& beat,
                                         std::uint64_t missing) {
    const std::uint64_t last = known != nullptr ? known->last.beat.beat : 0;
    if (beat.beat <= last) {
        return refuse_with_alarm(
            fmt::format("beat {} came after beat {}: the IDS contradicts itself", beat.beat, last));
    }
    if (beat.beat > last + 1) {
        // The beats between are among the messages that are missing, and told as such.
        if (beat.beat - last - 1 <= missing) return {};
        return refuse_with_alarm(fmt::format(
            "beat {} follows beat {}, but only {} messages are missing", beat.beat, last, missing));
    }
    const wire::Digest expected =
        known != nullptr ? crypto::sha256(known->payload) : wire::Digest{};
    if (beat.previous_beat != expected) {
        return refuse_with_alarm(fmt::format("the hash chain is broken at beat {}", beat.beat));
    }
    return {};
}

void observe_new_boot(const Boot& boot, std::vector<Observation>& observations) {
    const wire::AttestationResult& result = boot.last.beat.attestation.result;
    observations.push_back(
        {Severity::info, "start",
         fmt::format("an IDS has started: boot {}, MRENCLAVE {}{}{}", config::to_hex(boot.id),
                     config::to_hex(result.mrenclave), boot.software_sgx() ? "; " : "",
                     boot.software_sgx() ? cli::kSoftwareSgxBanner : "")});
}

void observe_sessions(const wire::Heartbeat& before, const wire::Heartbeat& beat,
                      std::vector<Observation>& observations) {
    if (beat.refused_answers > before.refused_answers) {
        observations.push_back(
            {Severity::critical, "tampered",
             fmt::format("the host tampered with {} answer{} of the hypervisor: refused, session "
                         "closed and registered anew",
                         beat.refused_answers - before.refused_answers,
                         beat.refused_answers - before.refused_answers == 1 ? "" : "s")});
    } else if (beat.registrations > before.registrations) {
        observations.push_back({Severity::info, "registered",
                                fmt::format("the IDS registered anew with the hypervisor "
                                            "(registration {})",
                                            beat.registrations)});
    }
}

void observe_rules(const wire::Heartbeat& before, const wire::Heartbeat& beat,
                   std::vector<Observation>& observations) {
    if (beat.rules_version == before.rules_version) return;
    observations.push_back(
        {Severity::info, "rules", fmt::format("the IDS has rules version {}", beat.rules_version)});
}

void observe_checks(const std::vector<wire::CheckCoverage>& before,
                    const std::vector<wire::CheckCoverage>& checks,
                    std::vector<Observation>& observations) {
    for (const wire::CheckCoverage& check : checks) {
        const auto same = std::ranges::find(before, check.check, &wire::CheckCoverage::check);
        const auto state_before = same != before.end() ? same->state : wire::CheckState::ran;
        if (check.state == state_before) continue;
        const std::string_view name = wire::get_text(check.check);
        switch (check.state) {
            case wire::CheckState::ran:
                observations.push_back(
                    {Severity::info, "coverage", fmt::format("check {} runs again", name)});
                break;
            case wire::CheckState::skipped:
                observations.push_back(
                    {Severity::info, "coverage",
                     fmt::format("check {} is skipped: {}", name, wire::get_text(check.why))});
                break;
            case wire::CheckState::failed:
                observations.push_back(
                    {Severity::warning, "coverage",
                     fmt::format("check {} could not run: {}", name, wire::get_text(check.why))});
                break;
        }
    }
}

// Two beats in a row of a watching IDS: the scan number between them must have grown.
bool made_progress(const Boot* known, const wire::Heartbeat& beat) {
    if (beat.state != wire::IdsState::watching) return true;
    return beat.scan > (known != nullptr ? known->last.beat.scan : 0);
}

void observe_progress(bool was_stalled, const Boot& boot, std::vector<Observation>& observations) {
    if (boot.stalled == was_stalled) return;
    if (boot.stalled) {
        observations.push_back(
            {Severity::critical, "stalled",
             fmt::format("the IDS beats but does not scan: beat {} still shows scan {}",
                         boot.last.beat.beat, boot.last.beat.scan)});
    } else {
        observations.push_back({Severity::info, "stalled", "the IDS scans again"});
    }
}

}  // namespace

std::string_view text(wire::Protection protection) {
    switch (protection) {
        case wire::Protection::unknown: break;
        case wire::Protection::unprotected:
            return "not protected: the hypervisor does not keep the host out of the VM's memory";
        case wire::Protection::protected_domain:
            return "protected: the hypervisor keeps the host out of the VM's memory";
    }
    return "unknown: the hypervisor's word on the VM's protection has not come";
}

std::optional<ParsedHeartbeat> parse_heartbeat(Bytes payload) {
    Reader reader{payload};
    const auto beat = reader.take<wire::Heartbeat>();
    if (!beat || beat->check_count > wire::kMaxChecks || !is_known(beat->state) ||
        !is_known(beat->protection)) {
        return std::nullopt;
    }
    ParsedHeartbeat parsed{.beat = *beat, .checks = {}};
    for (std::uint32_t i = 0; i < beat->check_count; ++i) {
        const auto check = reader.take<wire::CheckCoverage>();
        if (!check || !is_known(check->state)) return std::nullopt;
        parsed.checks.push_back(*check);
    }
    if (!reader.empty()) return std::nullopt;
    return parsed;
}

std::expected<void, Refusal> verify_attestation(const wire::SignedAttestationResult& attestation,
                                                const Trust& trust) {
    const wire::AttestationResult& result = attestation.result;
    if (!crypto::verify(trust.authority, attestation.signature, {bytes_of(result)})) {
        return refuse("the attestation result is not signed by the authority that we pin");
    }
    if (result.label != wire::kAttestationLabel) {
        return refuse_with_alarm(
            "the authority signed something that is not an attestation result");
    }
    if (result.domain != trust.domain) {
        return refuse_with_alarm(fmt::format("the IDS is attested for domain {}, not for ours",
                                             config::uuid_text(result.domain)));
    }
    if (result.owner.signing != trust.owner.signing ||
        result.owner.sealing != trust.owner.sealing) {
        return refuse_with_alarm("the IDS is attested for another owner");
    }
    if ((result.flags & wire::kAttestedDebug) != 0) {
        return refuse_with_alarm("the IDS runs in a debug enclave, whose memory the host can read");
    }
    if ((result.flags & ~std::uint32_t{wire::kAttestedSoftwareSgx}) != 0 || result.reserved != 0) {
        return refuse_with_alarm(
            "the attestation result says something that this version does not know");
    }
    if ((result.flags & wire::kAttestedSoftwareSgx) != 0 && !trust.allow_software_sgx) {
        return refuse_with_alarm(fmt::format("{}: not allowed here (allow_software_sgx = false)",
                                             cli::kSoftwareSgxBanner));
    }
    return {};
}

std::expected<TakenHeartbeat, Refusal> take_heartbeat(const std::optional<Boot>& known,
                                                      const ids::OpenedMessage& message,
                                                      const Trust& trust) {
    const auto parsed = parse_heartbeat(message.payload);
    if (message.kind != wire::OwnerKind::heartbeat || !parsed) {
        return refuse("a malformed heartbeat");
    }
    const wire::SignedAttestationResult& attestation = parsed->beat.attestation;
    if (auto sound = verify_attestation(attestation, trust); !sound) {
        return std::unexpected{sound.error()};
    }
    const wire::IdsKeys& keys = attestation.result.ids;
    if (!ids::verify_sender(message, keys.signing)) {
        return refuse("a heartbeat that is not signed by the IDS that it names");
    }
    // Keys are made anew at every start and never within one.
    if (known && (keys.signing != known->keys().signing || keys.sealing != known->keys().sealing)) {
        return refuse("a heartbeat of another IDS under the boot id of this one");
    }
    const Boot* before = known ? &*known : nullptr;
    const auto missing =
        count_missing(before != nullptr ? before->sequence : 0, message.header.sequence);
    if (!missing) return std::unexpected{missing.error()};
    const std::uint64_t missing_since_beat = *missing + (before != nullptr ? before->missing : 0);
    if (auto sound = check_chain(before, parsed->beat, missing_since_beat); !sound) {
        return std::unexpected{sound.error()};
    }

    TakenHeartbeat taken{.boot = {.id = message.header.boot,
                                  .sequence = message.header.sequence,
                                  .missing = 0,
                                  .payload = message.payload,
                                  .last = *parsed},
                         .observations = {},
                         .progress = made_progress(before, parsed->beat)};
    taken.boot.stalled = !taken.progress;
    if (before == nullptr) observe_new_boot(taken.boot, taken.observations);
    observe_gap(*missing, message.header.sequence, taken.observations);
    // Before its first beat an IDS has registered once, refused nothing and has no rules.
    wire::Heartbeat nothing_yet{};
    nothing_yet.registrations = 1;
    const wire::Heartbeat& beat_before = before != nullptr ? before->last.beat : nothing_yet;
    observe_sessions(beat_before, parsed->beat, taken.observations);
    observe_rules(beat_before, parsed->beat, taken.observations);
    if (before == nullptr || before->last.beat.state != parsed->beat.state) {
        taken.observations.push_back(describe_state(parsed->beat));
    }
    observe_progress(before != nullptr && before->stalled, taken.boot, taken.observations);
    observe_checks(before != nullptr ? before->last.checks : std::vector<wire::CheckCoverage>{},
                   parsed->checks, taken.observations);
    return taken;
}

std::expected<std::vector<Observation>, Refusal> take_in_sequence(
    Boot& boot, const ids::OpenedMessage& message) {
    if (!ids::verify_sender(message, boot.keys().signing)) {
        return refuse("a message that is not signed by the IDS of this boot");
    }
    const auto missing = count_missing(boot.sequence, message.header.sequence);
    if (!missing) return std::unexpected{missing.error()};
    boot.sequence = message.header.sequence;
    boot.missing += *missing;
    std::vector<Observation> observations;
    observe_gap(*missing, boot.sequence, observations);
    return observations;
}

}  // namespace sgm::remote
