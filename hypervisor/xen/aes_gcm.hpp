// SPDX-License-Identifier: MIT
// AES-256-GCM (NIST SP 800-38D) with AES-NI and PCLMULQDQ, for where no library can be: nothing but
// registers and the caller's memory, no branch or address that depends on a secret.
//
// The only code of the Xen port that uses vector registers: call it between sgm_xen_vector_begin()
// and sgm_xen_vector_end().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sgm::xen {

struct AesGcmSchedule {
    std::array<std::array<std::uint8_t, 16>, 15> round_keys;
    // The hash key H and its powers up to the fourth, bytes reversed.
    std::array<std::array<std::uint8_t, 16>, 4> hash_keys;
};

// AES-NI, PCLMULQDQ and SSSE3. Needs no vector registers.
[[nodiscard]] bool cpu_has_aes_gcm();

// key: 32 bytes.
void aes_gcm_expand(const std::uint8_t* key, AesGcmSchedule& schedule);

struct AesGcmMessage {
    const std::uint8_t* nonce;  // 12 bytes
    const std::uint8_t* aad;
    std::size_t aad_size;
    const std::uint8_t* in;
    std::uint8_t* out;  // may be `in`
    std::size_t size;   // at most 2^36 - 32
    std::uint8_t* tag;  // 16 bytes, out
};
void aes_gcm_encrypt(const AesGcmSchedule& schedule, const AesGcmMessage& message);
// Gives the tag that the message should have; the caller compares.
void aes_gcm_decrypt(const AesGcmSchedule& schedule, const AesGcmMessage& message);

}  // namespace sgm::xen
