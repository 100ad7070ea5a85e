// SPDX-License-Identifier: MIT
// AES-256-GCM (NIST SP 800-38D) for sessions, ChaCha20-Poly1305 (RFC 8439) inside HPKE.
#pragma once

#include <array>
#include <cstdint>
#include <expected>

#include "crypto/error.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::crypto {

inline constexpr std::size_t kAeadKeySize = 32;
inline constexpr std::size_t kAeadNonceSize = 12;
using wire::kAeadTagSize;

// The larger of the two libraries' key schedules.
inline constexpr std::size_t kAesGcmScheduleSize = 1024;

// IPSec_MB is the fast one (VAES or AVX2, chosen once); libsodium is the other opinion, and the
// one that needs nothing but AES-NI. Both give the same bytes.
enum class AesGcmBackend { ipsec_mb, sodium };

// One expanded key. Large messages are sealed and opened in place or from one buffer to another
// of the same size. The caller never uses a nonce twice under one key.
class Aes256Gcm final {
  public:
    // key: 32 bytes.
    explicit Aes256Gcm(std::span<const std::uint8_t, kAeadKeySize> key,
                       AesGcmBackend backend = AesGcmBackend::ipsec_mb);
    ~Aes256Gcm();  // wipes the key schedule
    Aes256Gcm(const Aes256Gcm&) = delete;
    Aes256Gcm& operator=(const Aes256Gcm&) = delete;

    // out.size() == plaintext.size(); out may be the same memory. Error: bad_size.
    [[nodiscard]] std::expected<void, Error> seal(
        std::span<const std::uint8_t, kAeadNonceSize> nonce, Bytes aad, Bytes plaintext,
        MutableBytes out, std::span<std::uint8_t, kAeadTagSize> tag) const;

    // On failure nothing of the plaintext is left in `out`. Errors: bad_size, authentication.
    [[nodiscard]] std::expected<void, Error> open(
        std::span<const std::uint8_t, kAeadNonceSize> nonce, Bytes aad, Bytes ciphertext,
        std::span<const std::uint8_t, kAeadTagSize> tag, MutableBytes out) const;

  private:
    // Either library's key schedule; see aead.cpp.
    alignas(64) std::array<std::uint8_t, kAesGcmScheduleSize> schedule_;
    AesGcmBackend backend_;
};

// ciphertext_and_tag.size() == plaintext.size() + 16.
[[nodiscard]] std::expected<void, Error> chacha20_poly1305_seal(
    std::span<const std::uint8_t, kAeadKeySize> key,
    std::span<const std::uint8_t, kAeadNonceSize> nonce, Bytes aad, Bytes plaintext,
    MutableBytes ciphertext_and_tag);

[[nodiscard]] std::expected<void, Error> chacha20_poly1305_open(
    std::span<const std::uint8_t, kAeadKeySize> key,
    std::span<const std::uint8_t, kAeadNonceSize> nonce, Bytes aad, Bytes ciphertext_and_tag,
    MutableBytes plaintext);

}  // namespace sgm::crypto
