// SPDX-License-Identifier: MIT
#include <sodium.h>

#include "crypto/aead.hpp"
#include "crypto/secret.hpp"

namespace sgm::crypto {
namespace {

// RFC 8439 2.8: a 32-bit block counter, one block taken for the Poly1305 key.
constexpr std::size_t kMaxChaChaSize = 64ull * ((1ull << 32) - 1);

}  // namespace

std::expected<void, Error> chacha20_poly1305_seal(
    std::span<const std::uint8_t, kAeadKeySize> key,
    std::span<const std::uint8_t, kAeadNonceSize> nonce, Bytes aad, Bytes plaintext,
    MutableBytes ciphertext_and_tag) {
    if (plaintext.size() > kMaxChaChaSize ||
        ciphertext_and_tag.size() != plaintext.size() + kAeadTagSize) {
        return std::unexpected(Error::bad_size);
    }
    crypto_aead_chacha20poly1305_ietf_encrypt(ciphertext_and_tag.data(), nullptr, plaintext.data(),
                                              plaintext.size(), aad.data(), aad.size(), nullptr,
                                              nonce.data(), key.data());
    return {};
}

std::expected<void, Error> chacha20_poly1305_open(
    std::span<const std::uint8_t, kAeadKeySize> key,
    std::span<const std::uint8_t, kAeadNonceSize> nonce, Bytes aad, Bytes ciphertext_and_tag,
    MutableBytes plaintext) {
    if (plaintext.size() > kMaxChaChaSize ||
        ciphertext_and_tag.size() != plaintext.size() + kAeadTagSize) {
        return std::unexpected(Error::bad_size);
    }
    if (crypto_aead_chacha20poly1305_ietf_decrypt(
            plaintext.data(), nullptr, nullptr, ciphertext_and_tag.data(),
            ciphertext_and_tag.size(), aad.data(), aad.size(), nonce.data(), key.data()) != 0) {
        wipe(plaintext);
        return std::unexpected(Error::authentication);
    }
    return {};
}

}  // namespace sgm::crypto
