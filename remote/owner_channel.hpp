// SPDX-License-Identifier: MIT
// The owner's end of the channel to the IDS: the keys, and messages in and out. The IDS's end is
// ids/owner_channel.hpp; how a message looks is ids/owner_message.hpp, shared by both.
#pragma once

#include <expected>
#include <vector>

#include "crypto/keys.hpp"
#include "ids/owner_message.hpp"
#include "remote/commands.hpp"
#include "remote/heartbeats.hpp"

namespace sgm::remote {

class OwnerChannel final {
  public:
    OwnerChannel(crypto::SigningKeyPair signing, crypto::SealingKeyPair sealing,
                 const wire::Uuid& domain)
        : signing_{std::move(signing)}, sealing_{std::move(sealing)}, domain_{domain} {}

    [[nodiscard]] const wire::Uuid& domain() const { return domain_; }
    [[nodiscard]] wire::OwnerKeys public_keys() const {
        return {.signing = signing_.public_key(), .sealing = sealing_.public_key()};
    }

    // A message of our VM, sealed to us; who sent it is still to be verified.
    [[nodiscard]] std::expected<ids::OpenedMessage, ids::MessageError> open(Bytes message) const;

    // `sequence` is used once, and grows within a boot.
    [[nodiscard]] std::expected<std::vector<std::uint8_t>, ids::MessageError> seal(
        const Command& command, const Boot& receiver, std::uint64_t sequence) const;

  private:
    crypto::SigningKeyPair signing_;
    crypto::SealingKeyPair sealing_;
    wire::Uuid domain_;
};

}  // namespace sgm::remote
