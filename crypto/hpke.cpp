// SPDX-License-Identifier: MIT
// Function and variable names follow RFC 9180.
#include "crypto/hpke.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "crypto/aead.hpp"
#include "crypto/hash.hpp"
#include "crypto/secret.hpp"

namespace sgm::crypto {
namespace {

constexpr std::string_view kVersion = "HPKE-v1";
// 4.1: "KEM" || DHKEM(X25519, HKDF-SHA256)
constexpr std::array<std::uint8_t, 5> kKemSuite = {'K', 'E', 'M', 0x00, 0x20};
// 5.1: "HPKE" || DHKEM(X25519, HKDF-SHA256) || HKDF-SHA256 || ChaCha20-Poly1305
constexpr std::array<std::uint8_t, 10> kHpkeSuite = {'H',  'P',  'K',  'E',  0x00,
                                                     0x20, 0x00, 0x01, 0x00, 0x03};
constexpr std::uint8_t kModeBase = 0x00;

Bytes as_bytes(std::string_view label) {
    return {reinterpret_cast<const std::uint8_t*>(label.data()), label.size()};
}

Secret<32> labeled_extract(Bytes suite, Bytes salt, std::string_view label, Bytes input_key) {
    wire::Digest key = hmac_sha256(salt, {as_bytes(kVersion), suite, as_bytes(label), input_key});
    Secret<32> secret;
    std::ranges::copy(key, secret.mutable_bytes().begin());
    wipe(key);
    return secret;
}

// out.size() < 8160, so hkdf_expand cannot fail.
void labeled_expand(Bytes suite, const Secret<32>& key, std::string_view label, Bytes info,
                    MutableBytes out) {
    const std::array<std::uint8_t, 2> size = {static_cast<std::uint8_t>(out.size() >> 8),
                                              static_cast<std::uint8_t>(out.size() & 0xff)};
    (void)hkdf_expand(key.bytes(), {size, as_bytes(kVersion), suite, as_bytes(label), info}, out);
}

struct AeadKey {
    Secret<kAeadKeySize> key;
    Secret<kAeadNonceSize> base_nonce;
};

// 4.1 ExtractAndExpand, then 5.1 KeySchedule in base mode: the key of the first message, and the
// only one that is ever sent.
AeadKey schedule(const Secret<32>& dh, const wire::Encapsulation& enc,
                 const wire::SealingKey& receiver, Bytes info) {
    std::array<std::uint8_t, 64> kem_context;
    std::ranges::copy(enc, kem_context.begin());
    std::ranges::copy(receiver, kem_context.begin() + 32);
    Secret<32> shared_secret;
    labeled_expand(kKemSuite, labeled_extract(kKemSuite, {}, "eae_prk", dh.bytes()),
                   "shared_secret", kem_context, shared_secret.mutable_bytes());

    const Secret<32> psk_id_hash = labeled_extract(kHpkeSuite, {}, "psk_id_hash", {});
    const Secret<32> info_hash = labeled_extract(kHpkeSuite, {}, "info_hash", info);
    std::array<std::uint8_t, 65> context;
    context[0] = kModeBase;
    std::ranges::copy(psk_id_hash.bytes(), context.begin() + 1);
    std::ranges::copy(info_hash.bytes(), context.begin() + 33);

    // Base mode: the pre-shared key is empty.
    const Secret<32> secret = labeled_extract(kHpkeSuite, shared_secret.bytes(), "secret", {});
    AeadKey result;
    labeled_expand(kHpkeSuite, secret, "key", context, result.key.mutable_bytes());
    labeled_expand(kHpkeSuite, secret, "base_nonce", context, result.base_nonce.mutable_bytes());
    return result;
}

}  // namespace

std::expected<wire::Encapsulation, Error> hpke_seal(const wire::SealingKey& receiver,
                                                    const SealingKeyPair& ephemeral, Bytes info,
                                                    Bytes aad, Bytes plaintext,
                                                    MutableBytes ciphertext) {
    const auto dh = x25519(ephemeral.private_key(), receiver);
    if (!dh) return std::unexpected(dh.error());
    const wire::Encapsulation& enc = ephemeral.public_key();
    const AeadKey aead = schedule(*dh, enc, receiver, info);
    const auto sealed = chacha20_poly1305_seal(aead.key.bytes().first<kAeadKeySize>(),
                                               aead.base_nonce.bytes().first<kAeadNonceSize>(), aad,
                                               plaintext, ciphertext);
    if (!sealed) return std::unexpected(sealed.error());
    return enc;
}

std::expected<wire::Encapsulation, Error> hpke_seal(const wire::SealingKey& receiver, Bytes info,
                                                    Bytes aad, Bytes plaintext,
                                                    MutableBytes ciphertext) {
    const auto ephemeral = SealingKeyPair::generate();
    if (!ephemeral) return std::unexpected(ephemeral.error());
    return hpke_seal(receiver, *ephemeral, info, aad, plaintext, ciphertext);
}

std::expected<void, Error> hpke_open(const SealingKeyPair& receiver,
                                     const wire::Encapsulation& encapsulation, Bytes info,
                                     Bytes aad, Bytes ciphertext, MutableBytes plaintext) {
    const auto dh = x25519(receiver.private_key(), encapsulation);
    if (!dh) return std::unexpected(dh.error());
    const AeadKey aead = schedule(*dh, encapsulation, receiver.public_key(), info);
    return chacha20_poly1305_open(aead.key.bytes().first<kAeadKeySize>(),
                                  aead.base_nonce.bytes().first<kAeadNonceSize>(), aad, ciphertext,
                                  plaintext);
}

}  // namespace sgm::crypto
