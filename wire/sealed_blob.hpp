// SPDX-License-Identifier: MIT
// What an enclave gives the host to keep for it (sgx/enclave/sealing.hpp). The host can change it,
// swap it, lose it, and give back an older one; it cannot read it or make one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::wire {

inline constexpr std::uint32_t kSealedMagic = 0x424d4753;  // "SGMB"
inline constexpr std::array<std::uint8_t, 16> kSealLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'S', 'B', ' ', 'v', '1', '\n'};
// Plaintext in one blob: bounds what a host can make an enclave allocate.
inline constexpr std::uint32_t kMaxSealedSize = 256 * 1024;

// Followed by `size` bytes of ciphertext and the tag of 16 bytes. AES-256-GCM, nonce zero, and
// this header as additional data; the key is
//   HKDF-SHA256(salt = kSealLabel, input = EGETKEY(SEAL, ...), info = label of the contents)
// where EGETKEY is asked with the fields below and, in version 1, an attribute mask of INIT and
// DEBUG. `keyid` is random for each blob: so is the key, and no nonce is ever used twice.
struct SealedBlobHeader {
    std::uint32_t magic;                  // 0   kSealedMagic
    std::uint16_t version;                // 4   1
    std::uint16_t policy;                 // 6   KEYPOLICY: 1 MRENCLAVE, 2 MRSIGNER
    std::uint16_t isv_svn;                // 8   of the enclave that sealed
    std::uint16_t reserved;               // 10  0
    std::uint32_t size;                   // 12  bytes of ciphertext
    std::array<std::uint8_t, 16> cpusvn;  // 16  of the CPU when it sealed
    std::array<std::uint8_t, 32> keyid;   // 32
};
static_assert(sizeof(SealedBlobHeader) == 64);
static_assert(offsetof(SealedBlobHeader, cpusvn) == 16);
static_assert(offsetof(SealedBlobHeader, keyid) == 32);
inline constexpr std::size_t kSealedOverhead = sizeof(SealedBlobHeader) + kAeadTagSize;
inline constexpr std::size_t kMaxKeptBlob = kMaxSealedSize + kSealedOverhead;

// The label of an owner's rules: they belong to that owner and that VM. The contents are a Rules
// and its Rule[] (wire/owner.hpp).
inline constexpr std::array<std::uint8_t, 16> kSealedRulesLabel = {
    'S', 'G', 'm', 'o', 'n', 'i', 't', 'o', 'r', ' ', 'R', 'U', ' ', 'v', '1', '\n'};
struct SealedRulesLabel {
    std::array<std::uint8_t, 16> label;  // 0   kSealedRulesLabel
    Uuid domain;                         // 16
    SigningKey owner;                    // 32
};
static_assert(sizeof(SealedRulesLabel) == 64);

}  // namespace sgm::wire
