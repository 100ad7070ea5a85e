// SPDX-License-Identifier: MIT
#include "hypervisor/xen/known_answers.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "crypto/aead.hpp"
#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"
#include "crypto/keys.hpp"

namespace sgm::xen {
namespace {

template <std::size_t N>
consteval std::array<std::uint8_t, N> hex(std::string_view digits) {
    const auto value = [](char digit) {
        return static_cast<std::uint8_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    };
    std::array<std::uint8_t, N> bytes{};
    for (std::size_t i = 0; i < N; ++i) {
        bytes[i] = static_cast<std::uint8_t>(value(digits[2 * i]) * 16 + value(digits[2 * i + 1]));
    }
    return bytes;
}

// FIPS 180-4, "abc".
bool sha256_is_right() {
    constexpr std::array<std::uint8_t, 3> kMessage = {'a', 'b', 'c'};
    return crypto::sha256(kMessage) ==
           hex<32>("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// The key, nonce and additional data of McGrew and Viega's GCM test case 16; 200 bytes of text, so
// that whole groups of blocks, single ones and a part of one occur.
bool aes_gcm_is_right(std::uint8_t fault) {
    constexpr auto kKey =
        hex<32>("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    constexpr auto kNonce = hex<12>("cafebabefacedbaddecaf888");
    constexpr auto kAad = hex<20>("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    constexpr auto kTag = hex<16>("bf064656ce9919b2c9df3879f520e4d5");
    constexpr auto kTextDigest =
        hex<32>("2a65009c2c4f34a39d94329cd133e84a71d20c668813c93b32b6cbe6fec73702");
    std::array<std::uint8_t, 200> plain{};
    for (std::size_t i = 0; i < plain.size(); ++i)
        plain[i] = static_cast<std::uint8_t>(i);

    const crypto::Aes256Gcm cipher{kKey};
    std::array<std::uint8_t, 200> text = plain;
    std::array<std::uint8_t, 16> tag{};
    if (!cipher.seal(kNonce, kAad, text, text, tag)) return false;
    tag[0] ^= fault;
    if (tag != kTag || crypto::sha256(text) != kTextDigest) return false;
    std::array<std::uint8_t, 200> opened{};
    if (!cipher.open(kNonce, kAad, text, tag, opened) || opened != plain) return false;
    text[150] ^= 1;
    return !cipher.open(kNonce, kAad, text, tag, opened);
}

// RFC 8032, 7.1, test 2.
bool ed25519_is_right() {
    constexpr auto kKey =
        hex<32>("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    constexpr auto kSignature = hex<64>(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    constexpr std::array<std::uint8_t, 1> kMessage = {0x72};
    constexpr std::array<std::uint8_t, 1> kOther = {0x73};
    return crypto::verify(kKey, kSignature, {kMessage}).has_value() &&
           !crypto::verify(kKey, kSignature, {kOther}).has_value();
}

// RFC 9180, A.2.1: X25519, HKDF-SHA256 and ChaCha20-Poly1305 in one.
bool hpke_is_right() {
    constexpr auto kPrivate =
        hex<32>("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    constexpr auto kEncapsulation =
        hex<32>("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    constexpr auto kInfo = hex<20>("4f6465206f6e2061204772656369616e2055726e");
    constexpr auto kAad = hex<7>("436f756e742d30");
    constexpr auto kCiphertext = hex<45>(
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d"
        "2dd1b51a28");
    constexpr auto kPlaintext =
        hex<29>("4265617574792069732074727574682c20747275746820626561757479");
    const auto receiver = crypto::SealingKeyPair::from_private(kPrivate);
    std::array<std::uint8_t, 29> opened{};
    if (!crypto::hpke_open(receiver, kEncapsulation, kInfo, kAad, kCiphertext, opened)) {
        return false;
    }
    auto forged = kCiphertext;
    forged[0] ^= 1;
    std::array<std::uint8_t, 29> nothing{};
    return opened == kPlaintext &&
           !crypto::hpke_open(receiver, kEncapsulation, kInfo, kAad, forged, nothing);
}

}  // namespace

bool cryptography_gives_known_answers(std::uint8_t fault) {
    return sha256_is_right() && aes_gcm_is_right(fault) && ed25519_is_right() && hpke_is_right();
}

}  // namespace sgm::xen
