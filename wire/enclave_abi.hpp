// SPDX-License-Identifier: MIT
// The border of the enclave: what the host passes in when it starts the IDS, and the four OCALLs.
// Everything here is written by the host: the enclave checks each pointer to lie wholly outside
// itself, copies once, then uses the copy.
#pragma once

#include <cstddef>

#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::wire {

// EENTER: rdi = EcallNumber or kReturnFromOcall, rsi = argument.
// EEXIT:  rdi = ExitReason, rsi = OCALL number or the ECALL's result, rdx = pointer to OcallFrame.
enum class EcallNumber : std::uint64_t { run = 1 };
inline constexpr std::uint64_t kReturnFromOcall = ~std::uint64_t{0};
enum class ExitReason : std::uint64_t { ecall_done = 0, ocall = 1, abort = 2 };

// The result of an ECALL, and the reason with ExitReason::abort.
enum class EnclaveResult : std::uint64_t {
    ok = 0,
    bad_argument = 1,  // a pointer into the enclave, a size out of range, an unknown ECALL
    already_running = 2,
    out_of_memory = 3,
    no_randomness = 4,  // RDRAND failed ten times in a row
    exception = 5,      // a fault inside: entry with CSSA > 0
    internal = 6,
    stopped = 7,  // the host said stop
};

// ECALL run: rsi points to this, in untrusted memory.
struct StartInfo {
    std::uint64_t ring;         // 0    address of the shared ring, kRingSize bytes
    std::uint64_t ocall_frame;  // 8    address of an OcallFrame
    std::uint64_t buffer;       // 16   address of the message buffer
    std::uint64_t buffer_size;  // 24   bytes, at least kMinOcallBuffer
    Uuid domain;                // 32   which VM to ask for; the authority's word decides
    std::array<std::uint8_t, 512> quoting_target;  // 48  TARGETINFO of the quoting enclave
    std::uint32_t interval_ms;  // 560  scan interval wanted, clamped to 100..60000
    std::uint32_t features;     // 564  StartFeatures; the host's word
};
static_assert(sizeof(StartInfo) == 568);
// A host that says what is not so gets a fault inside, or an enclave that makes do with less.
enum StartFeatures : std::uint32_t {
    kStartHeapGrows = 1u << 0,  // pages are added where the heap has room to grow (SGX2)
};
inline constexpr std::uint64_t kMinOcallBuffer = 1088 * 1024;

enum class OcallNumber : std::uint32_t {
    hypervisor = 1,  // the ring holds a call: wake the hypervisor, come back when it has a reply
    send = 2,        // hand `size` bytes of the buffer to `peer`
    receive = 3,     // the next message from `peer`, if any, into the buffer
    wait = 4,        // sleep until something arrives or `wait_ns` have passed
};

// Who is at the other end of send and receive. The host relays and may lie about it.
enum class Peer : std::uint32_t {
    quoting = 1,    // send: REPORT (432 bytes); receive: a quote
    authority = 2,  // send: evidence; receive: AuthorityReply and what follows
    owner = 3,      // send and receive: owner messages (wire/owner.hpp)
    log = 4,        // send only: one line of text for the host's log; never guest data
    // send: a sealed blob (wire/sealed_blob.hpp) to keep in place of the one before; receive: the
    // one that is kept. At most kMaxKeptBlob bytes. `ok` to a send: it is on the disk.
    storage = 5,
};

// Shared by all OCALLs; the enclave writes it before EEXIT and copies it once after.
struct OcallFrame {
    OcallNumber number;      // 0
    Peer peer;               // 4
    std::uint64_t size;      // 8    in: bytes to send, or room to receive; out: bytes received
    std::uint64_t wait_ns;   // 16   wait, receive: at most this long (relative)
    std::uint32_t result;    // 24   OcallResult
    std::uint32_t reserved;  // 28   0
};
static_assert(sizeof(OcallFrame) == 32);

enum class OcallResult : std::uint32_t {
    ok = 0,
    nothing = 1,       // receive, wait: the time passed and nothing came
    unreachable = 2,   // the peer cannot be reached now
    stop = 3,          // the host wants the enclave to end its ECALL
    ring_changed = 4,  // hypervisor: the connection was renewed, the call is lost
};

// What the host makes of the authority's HTTP reply. The text is untrusted.
struct AuthorityReply {            // followed by SignedAttestationResult when accepted
    std::uint32_t accepted;        // 0    1 or 0
    std::uint32_t reserved;        // 4    0
    std::array<char, 248> reason;  // 8    when refused
};
static_assert(sizeof(AuthorityReply) == 256);

// The measured configuration page: one page of the image, section .sgm_config, filled in at
// signing and therefore part of MRENCLAVE.
inline constexpr std::uint64_t kMeasuredConfigMagic = 0x31474643'4d475353;  // "SSGMCFG1"
struct MeasuredConfig {
    std::uint64_t magic;                         // 0
    std::array<std::uint8_t, 32> authority_key;  // 8   Ed25519: whose word this enclave believes
    std::array<char, 64> label;                  // 40  free text of the signer
    std::array<std::uint8_t, 3992> reserved;     // 104 0
};
static_assert(sizeof(MeasuredConfig) == 4096);

}  // namespace sgm::wire
