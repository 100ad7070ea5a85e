// SPDX-License-Identifier: MIT
#include "crypto/keys.hpp"

#include <sodium.h>

#include <cstring>
#include <vector>

#include "crypto/random.hpp"

namespace sgm::crypto {
namespace {

// libsodium signs and verifies one contiguous message; Ed25519 needs it twice, so it cannot be
// streamed. One part is used where it lies.
class Message final {
  public:
    explicit Message(std::initializer_list<Bytes> parts) {
        if (parts.size() == 1) {
            bytes_ = *parts.begin();
            return;
        }
        std::size_t size = 0;
        for (const Bytes part : parts)
            size += part.size();
        joined_.reserve(size);
        for (const Bytes part : parts)
            joined_.insert(joined_.end(), part.begin(), part.end());
        bytes_ = joined_;
    }
    ~Message() { wipe(joined_); }
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;

    [[nodiscard]] Bytes bytes() const { return bytes_; }

  private:
    std::vector<std::uint8_t> joined_;
    Bytes bytes_;
};

}  // namespace

std::expected<SigningKeyPair, Error> SigningKeyPair::generate() {
    Secret<32> seed;
    if (auto random = random_bytes(seed.mutable_bytes()); !random) {
        return std::unexpected(random.error());
    }
    return from_seed(seed.bytes().first<32>());
}

SigningKeyPair SigningKeyPair::from_seed(std::span<const std::uint8_t, 32> seed) {
    SigningKeyPair pair;
    crypto_sign_ed25519_seed_keypair(pair.public_key_.data(), pair.secret_.mutable_bytes().data(),
                                     seed.data());
    return pair;
}

wire::Signature SigningKeyPair::sign(std::initializer_list<Bytes> parts) const {
    const Message message{parts};
    wire::Signature signature;
    crypto_sign_ed25519_detached(signature.data(), nullptr, message.bytes().data(),
                                 message.bytes().size(), secret_.bytes().data());
    return signature;
}

std::expected<void, Error> verify(const wire::SigningKey& key, const wire::Signature& signature,
                                  std::initializer_list<Bytes> parts) {
    const Message message{parts};
    if (crypto_sign_ed25519_verify_detached(signature.data(), message.bytes().data(),
                                            message.bytes().size(), key.data()) != 0) {
        return std::unexpected(Error::authentication);
    }
    return {};
}

std::expected<SealingKeyPair, Error> SealingKeyPair::generate() {
    Secret<32> key;
    if (auto random = random_bytes(key.mutable_bytes()); !random) {
        return std::unexpected(random.error());
    }
    return from_private(key.bytes().first<32>());
}

SealingKeyPair SealingKeyPair::from_private(std::span<const std::uint8_t, 32> key) {
    SealingKeyPair pair;
    std::memcpy(pair.secret_.mutable_bytes().data(), key.data(), key.size());
    crypto_scalarmult_curve25519_base(pair.public_key_.data(), key.data());
    return pair;
}

std::expected<Secret<32>, Error> x25519(Bytes private_key, const wire::SealingKey& public_key) {
    if (private_key.size() != 32) return std::unexpected(Error::bad_size);
    Secret<32> shared;
    if (crypto_scalarmult_curve25519(shared.mutable_bytes().data(), private_key.data(),
                                     public_key.data()) != 0) {
        return std::unexpected(Error::bad_point);
    }
    return shared;
}

}  // namespace sgm::crypto
