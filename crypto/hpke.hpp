// SPDX-License-Identifier: MIT
// HPKE, RFC 9180, base mode, one message for each encapsulation:
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
#pragma once

#include <expected>

#include "crypto/error.hpp"
#include "crypto/keys.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::crypto {

inline constexpr std::size_t kHpkeOverhead = 16;  // ciphertext.size() - plaintext.size()

// Seals `plaintext` to `receiver`; returns enc. ciphertext.size() == plaintext.size() + 16.
// The ephemeral key is `ephemeral`: fresh for each call (tests pass the RFC's).
[[nodiscard]] std::expected<wire::Encapsulation, Error> hpke_seal(const wire::SealingKey& receiver,
                                                                  const SealingKeyPair& ephemeral,
                                                                  Bytes info, Bytes aad,
                                                                  Bytes plaintext,
                                                                  MutableBytes ciphertext);

// The same with an ephemeral key from the random source.
[[nodiscard]] std::expected<wire::Encapsulation, Error> hpke_seal(const wire::SealingKey& receiver,
                                                                  Bytes info, Bytes aad,
                                                                  Bytes plaintext,
                                                                  MutableBytes ciphertext);

// plaintext.size() + 16 == ciphertext.size(). Errors: bad_size, bad_point, authentication.
[[nodiscard]] std::expected<void, Error> hpke_open(const SealingKeyPair& receiver,
                                                   const wire::Encapsulation& encapsulation,
                                                   Bytes info, Bytes aad, Bytes ciphertext,
                                                   MutableBytes plaintext);

}  // namespace sgm::crypto
