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

class SessionKeys final {
  public:
    // Derives both directions' keys (wire/sgm_op.hpp, SessionKeyInfo).
    SessionKeys(const SessionName& name, const wire::Nonce& registration_nonce,
                const crypto::Secret<32>& secret);
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
    static constexpr std::size_t kSize = 32 + 32 + 4 + 4;

    SessionKeys(const SessionName& name, const crypto::Secret<kSize>& keys);
    [[nodiscard]] static crypto::Secret<kSize> derive(const SessionName& name,
                                                      const wire::Nonce& registration_nonce,
                                                      const crypto::Secret<32>& secret);
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
