// SPDX-License-Identifier: MIT
// The IDS's end of the channel to the VM's owner: what it sends is signed and sealed to the owner
// whom the authority named; what it takes must be signed by that owner, for this very start.
#pragma once

#include <expected>
#include <optional>
#include <string_view>
#include <vector>

#include "crypto/keys.hpp"
#include "ids/environment.hpp"
#include "wire/owner.hpp"

namespace sgm::ids {

// The key pairs that an IDS makes at its start and that die with it.
struct IdsKeyPairs {
    crypto::SigningKeyPair signing;
    crypto::SealingKeyPair sealing;

    [[nodiscard]] static std::expected<IdsKeyPairs, crypto::Error> generate();
    [[nodiscard]] wire::IdsKeys public_keys() const {
        return {.signing = signing.public_key(), .sealing = sealing.public_key()};
    }
};

class OwnerChannel final {
  public:
    struct Command {
        wire::OwnerKind kind;
        std::vector<std::uint8_t> payload;  // signed by the owner, still parsed totally
    };

    OwnerChannel(Environment& environment, const IdsKeyPairs& keys, const wire::Uuid& domain,
                 const wire::BootId& boot);

    // From a verified attestation result. Until it is called nothing is sent and nothing taken.
    void set_owner(const wire::OwnerKeys& owner) { owner_ = owner; }
    [[nodiscard]] const std::optional<wire::OwnerKeys>& owner() const { return owner_; }

    // Error: unreachable (no owner yet, or the host cannot take it now), too_large, stopped.
    [[nodiscard]] std::expected<void, EnvironmentError> send(wire::OwnerKind kind, Bytes payload);

    // One event about the IDS itself, from its part `check`: also for the host's log, so never
    // guest data. `clock`: the hypervisor's. An event that the host does not take leaves a gap in
    // the sequence, which the owner sees.
    void report(std::string_view check, wire::Severity severity, std::string_view text,
                std::uint64_t clock);

    // The next command that is truly the owner's. Others (forged, replayed, for another start or
    // VM) are dropped. nullopt: nothing there.
    [[nodiscard]] std::expected<std::optional<Command>, EnvironmentError> receive();

  private:
    [[nodiscard]] std::optional<Command> open(Bytes message);

    Environment& environment_;
    const IdsKeyPairs& keys_;
    wire::Uuid domain_;
    wire::BootId boot_;
    std::optional<wire::OwnerKeys> owner_;
    std::uint64_t sent_ = 0;    // sequence of the last message out
    std::uint64_t taken_ = 0;   // highest sequence taken in
    std::uint64_t events_ = 0;  // reported so far
    std::vector<std::uint8_t> buffer_;
};

}  // namespace sgm::ids
