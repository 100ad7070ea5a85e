// SPDX-License-Identifier: MIT
// The hypervisor interface: one call, sgm_op, with four commands, and the operations that a
// sealed request may carry. The host relays these bytes and may change any of them at any time.
#pragma once

#include <cstddef>

#include "wire/attestation.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::wire {

// ---------------------------------------------------------------------------------------------
// The frame: every call is an OpHeader and its payload, and so is every reply.

inline constexpr std::uint32_t kOpMagic = 0x314d4753;  // "SGM1"
inline constexpr std::uint16_t kProtocolVersion = 1;

enum class Command : std::uint16_t {
    identity = 1,  // in: nothing            out: Identity
    open = 2,      // in: RegisterRequest    out: RegisterReply     ("register" is a C++ keyword)
    request = 3,   // in: SealedHeader + ct  out: SealedHeader + ct
    close = 4,     // in: SealedHeader + ct  out: SealedHeader + ct, both of an empty batch
    revoke = 5,    // in: SignedRevocations  out: RevocationReceipt
};

// What happened to the call as a whole. Travels in the clear, so the enclave takes it as a hint
// only: whatever is not a well-sealed answer means the session is lost.
enum class Status : std::uint32_t {
    ok = 0,
    malformed = 1,    // not a frame, or sizes that do not agree
    unsupported = 2,  // version or command not known
    no_such_session = 3,
    refused_counter = 4,     // counter did not grow: session closed
    refused_tag = 5,         // authentication failed: session closed
    unknown_nonce = 6,       // nonce never issued, already used, or forgotten
    lifetime_over = 7,       // attestation result too old when registering, or session expired
    wrong_domain = 8,        // no such domain here, or the result names another
    wrong_hypervisor = 9,    // the result names another hypervisor key
    bad_signature = 10,      // not signed by the pinned authority
    wrong_binding = 11,      // the result was given for another secret or other IDS keys
    bad_encapsulation = 12,  // HPKE refused: low-order point, or wrong key
    debug_refused = 13,
    software_sgx_refused = 14,
    too_many_sessions = 15,
    internal = 16,
    stale_epoch = 17,       // the domain was reset, restored or migrated: session closed
    exhausted = 18,         // the session's keys have sealed what they may: session closed
    revoked = 19,           // by the authority's word: session closed, or registration refused
    stale_revocation = 20,  // a revocation list that is not newer than the one that is in force
};

struct OpHeader {
    std::uint32_t magic;    // 0   kOpMagic
    std::uint16_t version;  // 4   kProtocolVersion
    std::uint16_t command;  // 6   Command
    std::uint32_t size;     // 8   payload bytes that follow
    std::uint32_t status;   // 12  Status in replies, 0 in calls
};
static_assert(sizeof(OpHeader) == 16);

// Payload bounds, OpHeader excluded.
inline constexpr std::uint32_t kMaxRequestSize = 64 * 1024;
inline constexpr std::uint32_t kMaxAnswerSize = 1024 * 1024;

// ---------------------------------------------------------------------------------------------
// identity

struct Identity {
    SealingKey hypervisor_key;       // 0    X25519
    Digest hypervisor_key_id;        // 32   SHA-256(hypervisor_key)
    Nonce registration_nonce;        // 64   fresh for each call
    SigningKey authority_key;        // 96   the authority that this hypervisor pins
    std::array<char, 16> port;       // 128  "qemu", "xen": zero padded
    std::uint32_t max_request_size;  // 144
    std::uint32_t max_answer_size;   // 148
    std::uint32_t max_walk_nodes;    // 152
    std::uint32_t max_sessions;      // 156
};
static_assert(sizeof(Identity) == 160);
static_assert(offsetof(Identity, port) == 128);

// ---------------------------------------------------------------------------------------------
// register
//
// HPKE base mode, DHKEM(X25519, HKDF-SHA256) / HKDF-SHA256 / ChaCha20-Poly1305,
//   info = HpkeInfo, aad = registration nonce, plaintext = 32-byte session secret.

inline constexpr std::array<std::uint8_t, 16> kRegisterLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'R', 'G', ' ', 'v', '1', '\n'};
struct HpkeInfo {
    std::array<std::uint8_t, 16> label;  // 0   kRegisterLabel
    Uuid domain;                         // 16
    Digest hypervisor_key_id;            // 32
};
static_assert(sizeof(HpkeInfo) == 64);

struct RegisterRequest {
    RegistrationBinding binding;          // 0
    SignedAttestationResult attestation;  // 192
};
static_assert(sizeof(RegisterRequest) == 592);

// Session keys = HKDF-SHA256(salt = registration nonce, ikm = session secret,
//                            info = SessionKeyInfo), 72 bytes:
//   request key 32 | answer key 32 | request salt 4 | answer salt 4
inline constexpr std::array<std::uint8_t, 16> kSessionLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'S', 'K', ' ', 'v', '1', '\n'};
struct SessionKeyInfo {
    std::array<std::uint8_t, 16> label;  // 0   kSessionLabel
    Uuid domain;                         // 16
    std::uint64_t session;               // 32
    std::uint64_t epoch;                 // 40
};
static_assert(sizeof(SessionKeyInfo) == 48);

// Both directions of an open session. AES-256-GCM, 12-byte nonce = salt (4) | counter (8, LE),
// AAD = SealedAad. In the reply to `register`, the sealed body is a Confirmation, counter 0.
// A request's counter is greater than every counter before it; its answer repeats the counter.
//
// Both ends refuse to use a key beyond these bounds; the IDS renews its session well before.
// Counters: NIST SP 800-38D, section 8.3, allows 2^32 invocations where nonces are not of its
// deterministic construction; ours are, and keep to it all the same. Bytes, of requests and answers
// together: RFC 8446, section 5.5, 2^24.5 records of 2^14 bytes for each key.
inline constexpr std::uint64_t kMaxSessionMessages = 1ull << 32;
inline constexpr std::uint64_t kMaxSessionBytes = 1ull << 38;
struct SealedHeader {
    std::uint64_t session;                       // 0
    std::uint64_t epoch;                         // 8
    std::uint64_t counter;                       // 16
    std::uint32_t size;                          // 24  ciphertext bytes that follow
    std::uint32_t reserved;                      // 28  0
    std::array<std::uint8_t, kAeadTagSize> tag;  // 32
};
static_assert(sizeof(SealedHeader) == 48);

enum class Direction : std::uint32_t { request = 1, answer = 2 };
struct SealedAad {
    std::uint32_t version;   // 0   kProtocolVersion
    Direction direction;     // 4
    std::uint64_t session;   // 8
    Uuid domain;             // 16
    std::uint64_t epoch;     // 32
    std::uint64_t counter;   // 40
    std::uint64_t size;      // 48
    std::uint32_t command;   // 56  Command: a request is never taken for a close
    std::uint32_t reserved;  // 60  0
};
static_assert(sizeof(SealedAad) == 64);

struct Confirmation {
    Digest binding_digest;           // 0   of the registration that this confirms
    std::uint64_t session;           // 32
    std::uint64_t epoch;             // 40
    std::uint64_t hypervisor_clock;  // 48  ns
    std::uint32_t lifetime_seconds;  // 56  left
    std::uint32_t reserved;          // 60  0
};
static_assert(sizeof(Confirmation) == 64);

// ---------------------------------------------------------------------------------------------
// revoke
//
// The authority's list of what it takes back, whole each time: a newer list replaces an older one,
// so that a host that holds one back gains nothing when the next comes through. An entry may leave
// the list when every attestation result that was signed before it has outlived its lifetime,
// because the authority signs none for what it has revoked. So the list is bounded, and a
// hypervisor that starts anew, with no sessions and no nonces, needs none.

inline constexpr std::array<std::uint8_t, 16> kRevocationLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'R', 'V', ' ', 'v', '1', '\n'};
inline constexpr std::uint32_t kMaxRevocations = 64;

enum class RevokedKind : std::uint32_t {
    mrenclave = 1,     // every IDS of this MRENCLAVE
    domain = 2,        // every IDS of this VM
    registration = 3,  // the one whose binding has this digest
    everything = 4,    // every IDS
};
struct Revocation {
    RevokedKind kind;          // 0
    std::uint32_t reserved;    // 4   0
    Digest hypervisor_key_id;  // 8   where; zeros: everywhere
    Digest subject;            // 40  of its kind; a uuid, and for `everything` zeros, padded with 0
};
static_assert(sizeof(Revocation) == 72);

struct RevocationList {
    std::array<std::uint8_t, 16> label;               // 0   kRevocationLabel
    std::uint64_t sequence;                           // 16  greater than that of every list before
    std::uint32_t count;                              // 24  entries in use, the rest is zeros
    std::uint32_t reserved;                           // 28  0
    std::array<Revocation, kMaxRevocations> entries;  // 32
};
static_assert(sizeof(RevocationList) == 32 + kMaxRevocations * 72);

struct SignedRevocations {
    RevocationList list;  // 0
    Signature signature;  // 4640  by the authority, over `list`
};
static_assert(sizeof(SignedRevocations) == 4704);

struct RevocationReceipt {
    std::uint64_t sequence;         // 0  of the list in force
    std::uint32_t sessions_closed;  // 8
    std::uint32_t reserved;         // 12  0
};
static_assert(sizeof(RevocationReceipt) == 16);

// ---------------------------------------------------------------------------------------------
// A batch: BatchHeader, then `count` times {OpCall, arguments, padding to 8}.
// Its answer: BatchAnswer, then `count` times {OpAnswer, result, padding to 8}.
// Everything below is plaintext that only the enclave and the hypervisor see; still, an IDS gone
// bad may send anything, and the parser is total.

inline constexpr std::uint32_t kMaxBatchOps = 1024;

enum class Op : std::uint16_t { describe = 1, registers = 2, read = 3, search = 4, walk = 5 };

enum class OpStatus : std::uint16_t {
    ok = 0,
    malformed = 1,    // arguments have the wrong size or values out of range
    unsupported = 2,  // the port cannot do this
    fault = 3,        // an address did not translate; the result says where
    unreadable = 4,   // the domain's memory is encrypted or gone
    deferred = 5,     // the batch's bound was reached before this op began: send it again
};

enum BatchFlags : std::uint32_t {
    kBatchConsistent = 1u << 0,  // call: hold the vCPUs if the port can; answer: they were held
};

struct BatchHeader {
    std::uint32_t count;  // 0
    std::uint32_t flags;  // 4   BatchFlags
};
static_assert(sizeof(BatchHeader) == 8);

struct OpCall {
    std::uint16_t op;        // 0   Op
    std::uint16_t reserved;  // 2   0
    std::uint32_t size;      // 4   argument bytes that follow, before padding
};
static_assert(sizeof(OpCall) == 8);

struct BatchAnswer {
    std::uint64_t hypervisor_clock;  // 0   ns, monotonic: the only trusted clock there is
    std::uint64_t held_ns;           // 8   how long the vCPUs were held
    std::uint32_t count;             // 16
    std::uint32_t flags;             // 20  BatchFlags
};
static_assert(sizeof(BatchAnswer) == 24);

struct OpAnswer {
    std::uint16_t op;      // 0   Op
    std::uint16_t status;  // 2   OpStatus
    std::uint32_t size;    // 4   result bytes that follow, before padding
};
static_assert(sizeof(OpAnswer) == 8);

// Page-table levels of `root`; 0 as a root means that addresses are guest-physical.
enum class Paging : std::uint32_t { physical = 0, four_level = 4, five_level = 5 };

// Why an address could not be read. `level`: 5..1 the paging level whose entry stopped the walk
// (1: the page table itself), 0: the final guest-physical address.
enum class FaultKind : std::uint32_t {
    none = 0,
    not_present = 1,    // a page-table entry is not present
    not_canonical = 2,  // the virtual address is not canonical for this paging mode
    outside_ram = 3,    // a guest-physical address is not in the domain's RAM
    reserved_bits = 4,  // a page-table entry has impossible bits
};
struct Fault {
    std::uint64_t address;  // 0   the first address that could not be read
    FaultKind kind;         // 8
    std::uint32_t level;    // 12
};
static_assert(sizeof(Fault) == 16);

// --- describe: no arguments
inline constexpr std::uint32_t kMaxRamRanges = 64;
// private_memory: the VM's memory is not shared with the hypervisor process, or not all of it.
enum class Readability : std::uint32_t {
    readable = 1,
    encrypted = 2,
    gone = 3,
    private_memory = 4,
};
enum class Protection : std::uint32_t { unknown = 0, unprotected = 1, protected_domain = 2 };
struct RamRange {
    std::uint64_t start;  // 0   guest-physical
    std::uint64_t size;   // 8   bytes
};
struct DescribeResult {              // followed by range_count RamRange, ascending, not overlapping
    Uuid domain;                     // 0
    std::uint64_t epoch;             // 16
    std::uint64_t hypervisor_clock;  // 24
    std::uint32_t vcpu_count;        // 32
    Readability readability;         // 36
    Protection protection;           // 40
    std::uint32_t range_count;       // 44
};
static_assert(sizeof(DescribeResult) == 48);

// --- registers
struct RegistersCall {
    std::uint32_t vcpu;      // 0
    std::uint32_t reserved;  // 4   0
};
static_assert(sizeof(RegistersCall) == 8);
enum RegisterMask : std::uint64_t {
    kRegCr0 = 1u << 0,
    kRegCr3 = 1u << 1,
    kRegCr4 = 1u << 2,
    kRegEfer = 1u << 3,
    kRegLstar = 1u << 4,
    kRegCstar = 1u << 5,
    kRegSysenter = 1u << 6,
    kRegIdtr = 1u << 7,
    kRegGdtr = 1u << 8,
    kRegRip = 1u << 9,
};
struct Registers {
    std::uint64_t valid;                             // 0   RegisterMask: what the port could read
    std::uint64_t cr0, cr3, cr4;                     // 8 16 24
    std::uint64_t efer, lstar, cstar, sysenter_eip;  // 32 40 48 56
    std::uint64_t idt_base, idt_limit;               // 64 72
    std::uint64_t gdt_base, gdt_limit;               // 80 88
    std::uint64_t rip;                               // 96
};
static_assert(sizeof(Registers) == 104);

// --- read
inline constexpr std::uint32_t kMaxReadSize = 512 * 1024;
struct ReadCall {
    std::uint64_t root;     // 0   guest-physical address of the top page table, 0: physical
    std::uint64_t address;  // 8
    std::uint32_t size;     // 16  bytes, 1..kMaxReadSize
    Paging paging;          // 20
};
static_assert(sizeof(ReadCall) == 24);
struct ReadResult {      // followed by `size` bytes: what could be read before the fault, if any
    Fault fault;         // 0
    std::uint32_t size;  // 16
    std::uint32_t reserved;  // 20  0
};
static_assert(sizeof(ReadResult) == 24);

// --- search: where a pattern begins in guest-physical memory
inline constexpr std::uint32_t kMaxPatternSize = 64;
inline constexpr std::uint32_t kMaxSearchMatches = 4096;
inline constexpr std::uint64_t kMaxSearchBytes = 256ull << 20;  // looked at in one call
struct SearchCall {
    std::uint64_t start;         // 0   guest-physical, inclusive
    std::uint64_t end;           // 8   exclusive
    std::uint32_t alignment;     // 16  power of two, 1..4096; a match begins at a multiple of it
    std::uint32_t max_matches;   // 20  1..kMaxSearchMatches
    std::uint32_t pattern_size;  // 24  1..kMaxPatternSize
    std::uint32_t reserved;      // 28  0
    std::array<std::uint8_t, kMaxPatternSize> pattern;  // 32
};
static_assert(sizeof(SearchCall) == 96);
struct SearchResult {        // followed by `count` u64 guest-physical addresses, ascending
    std::uint64_t next;      // 0   where to go on; == end when all was searched
    std::uint32_t count;     // 8
    std::uint32_t reserved;  // 12  0
};
static_assert(sizeof(SearchResult) == 16);

// --- walk: a linked list, many fields of each node, in one operation
//
// A link is the address of a node's list pointer (struct list_head, or hlist_node). The node
// begins at link - link_offset; field paths start at the node. The walk begins at the link
// `first`, records the node, and follows the u64 at link + next_offset. A circular walk may begin
// at `head` itself, whose "node" is then the first row: one operation for a whole list of which
// only the head is known. Without that, first == head->next == head is an empty list: its row is
// the head's, too.
inline constexpr std::uint32_t kMaxWalkNodes = 65536;
inline constexpr std::uint32_t kMaxWalkFields = 16;
inline constexpr std::uint32_t kMaxFieldHops = 4;
inline constexpr std::uint32_t kMaxFieldSize = 256;

enum class ListShape : std::uint32_t {
    circular = 1,  // ends when the link is `head` again, after the first (struct list_head)
    null = 2,      // ends at a null link, even the first (hlist)
    nulls = 3,     // ends at an odd link, even the first (kernel include/linux/list_nulls.h)
};

struct FieldPath {
    std::uint32_t size;       // 0   bytes, 1..kMaxFieldSize
    std::uint32_t hop_count;  // 4   0..kMaxFieldHops pointers to follow
    // For i < hop_count: address = *(u64*)(address + offsets[i]); the field lies at
    // address + offsets[hop_count]. Offsets are signed.
    std::array<std::int32_t, kMaxFieldHops + 1> offsets;  // 8
    std::uint32_t reserved;                               // 28  0
};
static_assert(sizeof(FieldPath) == 32);

struct WalkCall {               // followed by field_count FieldPath
    std::uint64_t root;         // 0
    std::uint64_t first;        // 8   link to begin with
    std::uint64_t head;         // 16  the list's own head, for ListShape::circular
    std::int32_t link_offset;   // 24  of the link in the node
    std::int32_t next_offset;   // 28  of the next pointer, from the link
    std::uint32_t max_nodes;    // 32  1..kMaxWalkNodes
    Paging paging;              // 36  never physical
    ListShape shape;            // 40
    std::uint32_t field_count;  // 44  1..kMaxWalkFields
};
static_assert(sizeof(WalkCall) == 48);

enum class WalkStop : std::uint32_t {
    end = 1,    // the list closed: at its head, null, or the nulls marker
    bound = 2,  // max_nodes, the answer's room or the call's work: go on with first = next
    cycle = 3,  // came back to `next`, which is not the head; no node has two rows
    fault = 4,  // the pointer of link `next`, which has the last row, could not be read: `fault`
};
struct WalkResult {            // followed by node_count rows of row_size bytes
    WalkStop stop;             // 0
    std::uint32_t node_count;  // 4
    std::uint64_t next;        // 8   the link at which the walk stopped
    Fault fault;               // 16
    std::uint32_t row_size;    // 32  multiple of 8
    std::uint32_t reserved;    // 36  0
};
static_assert(sizeof(WalkResult) == 40);
struct WalkRow {         // followed by the fields, back to back in call order, then padding to 8
    std::uint64_t node;  // 0
    // Bit i: field i could not be read, zeros stand there. A pointer on its way is null, or
    // faulted.
    std::uint32_t bad_fields;   // 8
    std::uint32_t null_fields;  // 12  those of bad_fields whose way ended at a null pointer
};
static_assert(sizeof(WalkRow) == 16);

}  // namespace sgm::wire
