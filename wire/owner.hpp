// SPDX-License-Identifier: MIT
// Between an IDS and the VM's owner: heartbeats, findings and answers one way, challenges,
// queries and rules the other. Relay, network and broker are untrusted and see the header only.
//
// A message is an OwnerHeader and a ciphertext: HPKE base mode to the receiver's sealing key,
//   info = kOwnerLabel, aad = OwnerHeader,
//   plaintext = Signature | OwnerBody | payload (payload as OwnerBody.kind says).
// The signature is the sender's, Ed25519 over kOwnerLabel | OwnerHeader | OwnerBody | payload.
#pragma once

#include <cstddef>

#include "wire/attestation.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::wire {

inline constexpr std::uint32_t kOwnerMagic = 0x4f4d4753;  // "SGMO"
inline constexpr std::array<std::uint8_t, 16> kOwnerLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'O', 'W', ' ', 'v', '1', '\n'};
inline constexpr std::uint32_t kMaxOwnerMessage = 1024 * 1024;  // header included

struct OwnerHeader {
    std::uint32_t magic;    // 0   kOwnerMagic
    std::uint32_t version;  // 4   1
    Uuid domain;            // 8
    BootId boot;            // 24  which start of the IDS speaks, or is spoken to
    // From the IDS: 1, 2, 3, ... without a gap. To the IDS: growing, at most one use of each.
    std::uint64_t sequence;       // 40
    Encapsulation encapsulation;  // 48  HPKE enc; all zero while it is signed and taken as aad
    std::uint32_t size;           // 80  ciphertext bytes that follow, tag included
    std::uint32_t reserved;       // 84  0
};
static_assert(sizeof(OwnerHeader) == 88);

enum class OwnerKind : std::uint32_t {
    // from the IDS
    heartbeat = 1,  // Heartbeat, then check_count CheckCoverage
    finding = 2,    // Finding
    answer = 3,     // Answer, then row_count rows
    // from the owner
    challenge = 16,  // Challenge
    query = 17,      // Query
    rules = 18,      // Rules, then count Rule
};

struct OwnerBody {
    OwnerKind kind;      // 0
    std::uint32_t size;  // 4   payload bytes that follow
};
static_assert(sizeof(OwnerBody) == 8);

// ---------------------------------------------------------------------------------------------
// From the IDS

enum class IdsState : std::uint32_t {
    starting = 1,     // registered, has not finished its first scan
    watching = 2,     // scans complete
    unsupported = 3,  // kernel not understood: `reason` says why
    unreadable = 4,   // the hypervisor reports memory that cannot be read
    no_kernel = 5,    // no Linux kernel found yet (the guest may still be booting)
};

// Text fields are UTF-8 or, where the guest chose them, any bytes; zero padded. Whoever prints
// them escapes control characters.
struct Heartbeat {
    SignedAttestationResult attestation;  // 0    who speaks: the signer's key is named in it
    Nonce remote_nonce;                   // 400  of the last Challenge; zero before the first
    Digest previous_beat;                 // 432  SHA-256 of the last Heartbeat | CheckCoverage[]
    std::uint64_t beat;                   // 464  1, 2, 3, ... of this boot
    std::uint64_t hypervisor_clock;       // 472  ns, when this beat was made
    std::uint64_t scan;                   // 480  number of the last completed scan, 0: none yet
    std::uint64_t scan_clock;             // 488  ns, when it completed
    Digest scan_digest;                   // 496  SHA-256 of its process rows
    std::uint64_t rules_version;          // 528  0: none yet
    std::uint32_t process_count;          // 536  in that scan
    std::uint32_t open_findings;          // 540
    IdsState state;                       // 544
    std::uint32_t interval_ms;            // 548  scan interval
    std::uint32_t registrations;          // 552  sessions opened since boot, 1 at the first beat
    std::uint32_t refused_answers;        // 556  answers of the hypervisor side refused since boot
    std::uint32_t check_count;            // 560
    Protection protection;                // 564  the hypervisor's word, sealed, before this scan
    std::array<char, 64> kernel;          // 568  release, "6.1.0-44-cloud-amd64"
    std::array<char, 128> reason;         // 632  why the state is not `watching`
};
static_assert(sizeof(Heartbeat) == 760);
static_assert(offsetof(Heartbeat, beat) == 464);
static_assert(offsetof(Heartbeat, rules_version) == 528);
static_assert(offsetof(Heartbeat, protection) == 564);
static_assert(offsetof(Heartbeat, kernel) == 568);

inline constexpr std::uint32_t kMaxChecks = 64;
enum class CheckState : std::uint32_t { ran = 1, skipped = 2, failed = 3 };
struct CheckCoverage {
    std::array<char, 28> check;  // 0    id, "process-rules"
    CheckState state;            // 28
    std::array<char, 96> why;    // 32   why it did not run
};
static_assert(sizeof(CheckCoverage) == 128);

enum class FindingState : std::uint32_t { raised = 1, cleared = 2, event = 3 };  // event: no state
enum class Severity : std::uint32_t { info = 1, warning = 2, critical = 3 };
struct Finding {
    std::uint64_t id;                  // 0    the same when it clears
    std::uint64_t hypervisor_clock;    // 8    ns
    FindingState state;                // 16
    Severity severity;                 // 20
    std::int32_t pid;                  // 24   0: not about a process
    std::int32_t parent_pid;           // 28
    std::uint32_t uid;                 // 32
    std::uint32_t reserved;            // 36   0
    std::array<char, 16> comm;         // 40
    std::array<char, 16> parent_comm;  // 56
    std::array<char, 28> check;        // 72   id of the check
    std::array<char, 64> rule;         // 100  name of the owner's rule
    std::array<char, 196> text;        // 164  one sentence
};
static_assert(sizeof(Finding) == 360);

enum class AnswerStatus : std::uint32_t { ok = 1, not_ready = 2, refused = 3 };
struct Answer {
    std::uint64_t query;             // 0    Query.id
    std::uint64_t hypervisor_clock;  // 8
    AnswerStatus status;             // 16
    std::uint32_t row_count;         // 20   rows that follow
    std::uint32_t total_rows;        // 24   more than row_count when they did not fit
    std::uint32_t row_size;          // 28   sizeof the row
    std::array<char, 128> reason;    // 32   when not ok
};
static_assert(sizeof(Answer) == 160);

// One process (thread group leader) as the guest's memory has it.
struct ProcessRow {
    std::uint64_t task;           // 0    guest-virtual address of its task_struct
    std::uint64_t start_time_ns;  // 8    since the guest booted (CLOCK_BOOTTIME)
    std::int32_t pid;             // 16
    std::int32_t tgid;            // 20
    std::int32_t ppid;            // 24
    std::uint32_t uid;            // 28   real uid, in the initial user namespace
    std::uint32_t state;          // 32   the kernel's __state | exit_state (include/linux/sched.h)
    std::uint32_t reserved;       // 36   0
    std::array<char, 16> comm;    // 40
};
static_assert(sizeof(ProcessRow) == 56);

// ---------------------------------------------------------------------------------------------
// From the owner

struct Challenge {
    Nonce nonce;  // 0   every later beat repeats it, until the next
};
static_assert(sizeof(Challenge) == 32);

enum class QueryKind : std::uint32_t { processes = 1 };
struct Query {
    std::uint64_t id;        // 0   chosen by the owner
    QueryKind kind;          // 8
    std::uint32_t reserved;  // 12  0
};
static_assert(sizeof(Query) == 16);

inline constexpr std::uint32_t kMaxRules = 256;
struct Rules {
    std::uint64_t version;   // 0   an IDS takes no version below the one it has
    std::uint32_t count;     // 8
    std::uint32_t reserved;  // 12  0
};
static_assert(sizeof(Rules) == 16);

enum class RuleAction : std::uint32_t { deny = 1, allow = 2 };
enum RuleMatch : std::uint32_t { kMatchComm = 1u << 0, kMatchUid = 1u << 1 };
struct Rule {                   // the first rule that matches a process decides; none: allowed
    RuleAction action;          // 0
    std::uint32_t match;        // 4    RuleMatch: all that are set must agree; not 0
    std::uint32_t uid;          // 8
    std::uint32_t reserved;     // 12   0
    std::array<char, 16> comm;  // 16   exact, zero padded, at most 15 bytes
    std::array<char, 64> name;  // 32   how findings call it
};
static_assert(sizeof(Rule) == 96);

}  // namespace sgm::wire
