// SPDX-License-Identifier: MIT
// Identities that cross trust boundaries: fixed-size byte strings, each with its own name.
#pragma once

#include <array>
#include <cstdint>

namespace sgm::wire {

using Uuid = std::array<std::uint8_t, 16>;        // a VM, RFC 4122 byte order
using Digest = std::array<std::uint8_t, 32>;      // SHA-256
using Nonce = std::array<std::uint8_t, 32>;       // random, used once
using SealingKey = std::array<std::uint8_t, 32>;  // X25519 public key: messages are sealed to it
using SigningKey = std::array<std::uint8_t, 32>;  // Ed25519 public key: signatures verify under it
using Signature = std::array<std::uint8_t, 64>;   // Ed25519
using Encapsulation = std::array<std::uint8_t, 32>;  // HPKE `enc` for DHKEM(X25519)
using BootId = std::array<std::uint8_t, 16>;         // one start of an IDS, random

inline constexpr std::uint32_t kAeadTagSize = 16;  // AES-256-GCM and ChaCha20-Poly1305 alike

}  // namespace sgm::wire
