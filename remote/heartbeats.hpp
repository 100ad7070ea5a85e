// SPDX-License-Identifier: MIT
// Whether a message is truly from an approved IDS of ours, and in its place: attestation,
// signature, sequence, hash chain, scan progress. Pure functions from what was known and what came
// to what is known now; the host and the network control what comes and when.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "ids/owner_message.hpp"
#include "wire/owner.hpp"

namespace sgm::remote {

// What the owner was told to believe, out of band.
struct Trust {
    wire::SigningKey authority;
    wire::Uuid domain;
    wire::OwnerKeys owner;  // ours: an attestation that names another owner is not for us
    bool allow_software_sgx;
};

// What the hypervisor says of the VM's host, in a sentence.
[[nodiscard]] std::string_view text(wire::Protection protection);

// Something that the owner should know.
struct Observation {
    wire::Severity severity;
    std::string kind;
    std::string text;
};

struct ParsedHeartbeat {
    wire::Heartbeat beat;
    std::vector<wire::CheckCoverage> checks;
};
[[nodiscard]] std::optional<ParsedHeartbeat> parse_heartbeat(Bytes payload);

// One start of the IDS, as far as its messages have told.
struct Boot {
    wire::BootId id;
    std::uint64_t sequence;             // of its last message
    std::uint64_t missing;              // messages that did not arrive since its last heartbeat
    std::vector<std::uint8_t> payload;  // of its last heartbeat
    ParsedHeartbeat last;               // the same, parsed
    bool stalled = false;               // its last heartbeat showed no scan progress

    [[nodiscard]] const wire::IdsKeys& keys() const { return last.beat.attestation.result.ids; }
    [[nodiscard]] bool software_sgx() const {
        return (last.beat.attestation.result.flags & wire::kAttestedSoftwareSgx) != 0;
    }
};

// Why a message was refused, in our own words. Anyone can send what is forged or replayed; it is
// `alarming` when the authority or the IDS itself signed what we must not accept.
struct Refusal {
    std::string reason;
    bool alarming = false;
};

// Whether the authority says of this IDS what it must: signed by the pinned key, for our VM, our
// owner keys, no debug enclave, software SGX only where allowed.
[[nodiscard]] std::expected<void, Refusal> verify_attestation(
    const wire::SignedAttestationResult& attestation, const Trust& trust);

struct TakenHeartbeat {
    Boot boot;                              // as it is known now
    std::vector<Observation> observations;  // what this heartbeat revealed
    bool progress;  // false: it was watching and did not scan; no sign of life
};

// `known`: the boot that the message's header names, nullopt when it is a new one, which only a
// valid heartbeat introduces. `message` is opened; nothing else of it has been checked.
[[nodiscard]] std::expected<TakenHeartbeat, Refusal> take_heartbeat(
    const std::optional<Boot>& known, const ids::OpenedMessage& message, const Trust& trust);

// A finding or an answer of a known boot: its signature and sequence. Returns what the sequence
// revealed; `boot` is what is known from now on.
[[nodiscard]] std::expected<std::vector<Observation>, Refusal> take_in_sequence(
    Boot& boot, const ids::OpenedMessage& message);

}  // namespace sgm::remote
