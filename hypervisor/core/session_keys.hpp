// SPDX-License-Identifier: MIT
// How the messages of a session are sealed and opened: the one part that is the same at both ends,
// so the IDS uses it too. Which counters are good is for each end to say.
#pragma once

#include <array>
#include <cstdint>

#include "crypto/aead.hpp"
#include "crypto/secret.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// Goes into the keys and into what every message authenticates.
struct SessionName {
    std::uint64_t id;
    wire::Uuid domain;
    std::uint64_t epoch;
};

// What a session has sealed under its keys so far, against kMaxSessionMessages and
// kMaxSessionBytes. The two directions have keys of their own; their bytes count together.
class KeyUsage final {
  public:
    constexpr KeyUsage() = default;
    constexpr explicit KeyUsage(std::uint64_t bytes) : bytes_{bytes} {}

    // Whether a request of this counter and size, and any answer to it, may still be sealed.
    [[nodiscard]] constexpr bool allows(std::uint64_t counter, std::uint64_t size) const {
        const std::uint64_t most = size + wire::kMaxAnswerSize;
        return counter <= wire::kMaxSessionMessages && bytes_ <= wire::kMaxSessionBytes &&
               most <= wire::kMaxSessionBytes - bytes_;
    }
    constexpr void add(std::uint64_t size) { bytes_ += size; }
    // Half of what is allowed is used: time for other keys.
    [[nodiscard]] constexpr bool is_worn(std::uint64_t counter) const {
        return counter >= wire::kMaxSessionMessages / 2 || bytes_ >= wire::kMaxSessionBytes / 2;
    }

  private:
    std::uint64_t bytes_ = 0;
};

// Both directions' keys and salts as HKDF gives them (wire/sgm_op.hpp, SessionKeyInfo).
inline constexpr std::size_t kKeyMaterialSize = 32 + 32 + 4 + 4;
using KeyMaterial = crypto::Secret<kKeyMaterialSize>;
[[nodiscard]] KeyMaterial derive_keys(const SessionName& name,
                                      const wire::Nonce& registration_nonce,
                                      const crypto::Secret<32>& secret);

class SessionKeys final {
  public:
    SessionKeys(const SessionName& name, const KeyMaterial& material);
    ~SessionKeys();  // wipes
    SessionKeys(const SessionKeys&) = delete;
    SessionKeys& operator=(const SessionKeys&) = delete;

    // In place. The caller never seals twice in one direction with the same counter.
    [[nodiscard]] wire::SealedHeader seal(wire::Command command, wire::Direction direction,
                                          std::uint64_t counter, MutableBytes text) const;

    // In place. False, and nothing of the plaintext is left in `text`, when this is not what the
    // other end sealed in this direction of this session, for this command.
    [[nodiscard]] bool open(wire::Command command, wire::Direction direction,
                            const wire::SealedHeader& header, MutableBytes text) const;

  private:
    using Salt = std::array<std::uint8_t, 4>;

    [[nodiscard]] wire::SealedAad aad(wire::Command command, wire::Direction direction,
                                      std::uint64_t counter, std::uint64_t size) const;
    [[nodiscard]] std::array<std::uint8_t, crypto::kAeadNonceSize> nonce(
        wire::Direction direction, std::uint64_t counter) const;
    [[nodiscard]] const crypto::Aes256Gcm& key(wire::Direction direction) const;

    SessionName name_;
    crypto::Aes256Gcm request_key_;
    crypto::Aes256Gcm answer_key_;
    Salt request_salt_{};
    Salt answer_salt_{};
};

}  // namespace sgm::hypervisor
