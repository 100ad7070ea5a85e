// SPDX-License-Identifier: MIT
// Registration: what an IDS shows the authority, and the authority's signed word.
// RATS passport model (RFC 9334): the enclave is the attester, the authority the verifier, the
// hypervisor and the owner are relying parties. See docs/architecture.md, "Registration".
#pragma once

#include <cstddef>

#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::wire {

// The two public keys that an IDS makes anew at every start. Its heartbeats are signed with one,
// the owner's commands are sealed to the other.
struct IdsKeys {
    SigningKey signing;  // 0
    SealingKey sealing;  // 32
};
static_assert(sizeof(IdsKeys) == 64);

// The two public keys of the VM's owner. Findings are sealed to one, commands verify under the
// other.
struct OwnerKeys {
    SigningKey signing;  // 0
    SealingKey sealing;  // 32
};
static_assert(sizeof(OwnerKeys) == 64);

// What the enclave binds into its SGX report: report data = SHA-256 of this struct, zero padded
// to 64 bytes. The hypervisor recomputes the same digest from what it is given at registration.
struct RegistrationBinding {
    Encapsulation encapsulation;                 // 0    HPKE enc of the session secret
    std::array<std::uint8_t, 48> sealed_secret;  // 32   32-byte secret + 16-byte tag
    Nonce registration_nonce;                    // 80   the hypervisor's
    Uuid domain;                                 // 112
    IdsKeys ids;                                 // 128
};
static_assert(sizeof(RegistrationBinding) == 192);
static_assert(offsetof(RegistrationBinding, ids) == 128);

// Enclave -> host -> authority. The quote follows, `quote_size` bytes. The host controls all of
// it until the quote has been verified; after that only `hypervisor_key_id`, a hint that the
// authority compares with its own enrolment.
inline constexpr std::uint32_t kEvidenceMagic = 0x45474d53;  // "SGME"
inline constexpr std::uint32_t kMaxQuoteSize = 32 * 1024;
struct EvidenceHeader {
    std::uint32_t magic;          // 0
    std::uint32_t version;        // 4    1
    RegistrationBinding binding;  // 8
    Digest hypervisor_key_id;     // 200  SHA-256 of the hypervisor's public key
    std::uint32_t quote_size;     // 232
    std::uint32_t reserved;       // 236  0
};
static_assert(sizeof(EvidenceHeader) == 240);
static_assert(offsetof(EvidenceHeader, hypervisor_key_id) == 200);

// The authority's word. Signed: Ed25519 over the whole struct, whose label keeps the signature
// from meaning anything else.
inline constexpr std::array<std::uint8_t, 16> kAttestationLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'A', 'R', ' ', 'v', '1', '\n'};
enum AttestationFlags : std::uint32_t {
    kAttestedSoftwareSgx = 1u << 0,  // a software enclave: no protection from the host's root
    kAttestedDebug = 1u << 1,        // debug enclave: the hypervisor refuses it
};
struct AttestationResult {
    std::array<std::uint8_t, 16> label;  // 0    kAttestationLabel
    Nonce registration_nonce;            // 16   repeated from the evidence
    Digest binding_digest;               // 48   SHA-256 of RegistrationBinding
    Uuid domain;                         // 80   the VM that this IDS may read
    Digest hypervisor_key_id;            // 96   of the hypervisor enrolled for that VM
    OwnerKeys owner;                     // 128  to whom findings may be sealed
    IdsKeys ids;                         // 192  of the IDS that was appraised
    Digest mrenclave;                    // 256
    Digest mrsigner;                     // 288
    std::uint16_t isv_prod_id;           // 320
    std::uint16_t isv_svn;               // 322
    std::uint32_t flags;                 // 324  AttestationFlags
    std::uint32_t lifetime_seconds;  // 328  counted from the issue of the nonce, hypervisor clock
    std::uint32_t reserved;          // 332  0
};
static_assert(sizeof(AttestationResult) == 336);
static_assert(offsetof(AttestationResult, owner) == 128);
static_assert(offsetof(AttestationResult, mrenclave) == 256);
static_assert(offsetof(AttestationResult, lifetime_seconds) == 328);

struct SignedAttestationResult {
    AttestationResult result;  // 0
    Signature signature;       // 336  by the authority, over `result`
};
static_assert(sizeof(SignedAttestationResult) == 400);

}  // namespace sgm::wire
