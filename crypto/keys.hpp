// SPDX-License-Identifier: MIT
// Key pairs: Ed25519 (RFC 8032) to sign, X25519 (RFC 7748) to be sealed to.
#pragma once

#include <expected>
#include <initializer_list>

#include "crypto/error.hpp"
#include "crypto/secret.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::crypto {

// Ed25519. The private part is the 32-byte seed.
class SigningKeyPair final {
  public:
    [[nodiscard]] static std::expected<SigningKeyPair, Error> generate();
    [[nodiscard]] static SigningKeyPair from_seed(std::span<const std::uint8_t, 32> seed);

    [[nodiscard]] const wire::SigningKey& public_key() const { return public_key_; }
    [[nodiscard]] Bytes seed() const { return secret_.bytes().first(32); }
    // Over the parts, one after the other.
    [[nodiscard]] wire::Signature sign(std::initializer_list<Bytes> parts) const;

  private:
    SigningKeyPair() = default;
    wire::SigningKey public_key_{};
    Secret<64> secret_;
};

// Error: authentication.
[[nodiscard]] std::expected<void, Error> verify(const wire::SigningKey& key,
                                                const wire::Signature& signature,
                                                std::initializer_list<Bytes> parts);

// X25519.
class SealingKeyPair final {
  public:
    [[nodiscard]] static std::expected<SealingKeyPair, Error> generate();
    [[nodiscard]] static SealingKeyPair from_private(std::span<const std::uint8_t, 32> key);

    [[nodiscard]] const wire::SealingKey& public_key() const { return public_key_; }
    [[nodiscard]] Bytes private_key() const { return secret_.bytes(); }

  private:
    SealingKeyPair() = default;
    wire::SealingKey public_key_{};
    Secret<32> secret_;
};

// The X25519 function. Error: bad_point when the result is all zero.
[[nodiscard]] std::expected<Secret<32>, Error> x25519(Bytes private_key,
                                                      const wire::SealingKey& public_key);

}  // namespace sgm::crypto
