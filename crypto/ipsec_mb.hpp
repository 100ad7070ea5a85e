// SPDX-License-Identifier: MIT
// The functions of IPSec_MB that this room uses, one implementation for each side: the host
// asks CPUID for the fastest, an enclave cannot (see host/ and enclave/).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

struct gcm_key_data;
struct gcm_context_data;

namespace sgm::crypto::ipsec_mb {

// Sizes and pointers are checked by the caller: 32-byte key, 12-byte nonce, 16-byte tag.
void expand_key(const std::uint8_t* key, gcm_key_data& schedule);
void encrypt(const gcm_key_data& schedule, gcm_context_data& context, std::uint8_t* out,
             const std::uint8_t* in, std::size_t size, const std::uint8_t* nonce,
             const std::uint8_t* aad, std::size_t aad_size, std::uint8_t* tag);
// Gives the tag that the message should have; the caller compares.
void decrypt(const gcm_key_data& schedule, gcm_context_data& context, std::uint8_t* out,
             const std::uint8_t* in, std::size_t size, const std::uint8_t* nonce,
             const std::uint8_t* aad, std::size_t aad_size, std::uint8_t* tag);

// Eleven round keys of 16 bytes, aligned as IPSec_MB wants them.
struct alignas(16) Aes128Schedule : std::array<std::uint8_t, 176> {};
void expand_key_128(const std::uint8_t* key, Aes128Schedule& schedule);
// One block of 16 bytes, in place.
void encrypt_block_128(const Aes128Schedule& schedule, std::uint8_t* block);

}  // namespace sgm::crypto::ipsec_mb
