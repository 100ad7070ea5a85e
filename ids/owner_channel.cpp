// SPDX-License-Identifier: MIT
#include "ids/owner_channel.hpp"

#include "ids/owner_message.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::ids {

namespace {

// A host may deliver any number of messages that are not the owner's; in one receive() at most
// this many are looked at.
constexpr int kMaxForeignMessages = 64;
// Set in the id of findings that are not about the guest (detect/finding.hpp).
constexpr std::uint64_t kOwnEvent = std::uint64_t{1} << 63;

}  // namespace

std::expected<IdsKeyPairs, crypto::Error> IdsKeyPairs::generate() {
    auto signing = crypto::SigningKeyPair::generate();
    if (!signing) return std::unexpected(signing.error());
    auto sealing = crypto::SealingKeyPair::generate();
    if (!sealing) return std::unexpected(sealing.error());
    return IdsKeyPairs{std::move(*signing), std::move(*sealing)};
}

OwnerChannel::OwnerChannel(Environment& environment, const IdsKeyPairs& keys,
                           const wire::Uuid& domain, const wire::BootId& boot)
    : environment_{environment},
      keys_{keys},
      domain_{domain},
      boot_{boot},
      buffer_(wire::kMaxOwnerMessage) {}

std::expected<void, EnvironmentError> OwnerChannel::send(wire::OwnerKind kind, Bytes payload) {
    if (!owner_) return std::unexpected(EnvironmentError::unreachable);
    const wire::OwnerHeader header{.magic = wire::kOwnerMagic,
                                   .version = 1,
                                   .domain = domain_,
                                   .boot = boot_,
                                   .sequence = sent_ + 1,
                                   .encapsulation = {},
                                   .size = 0,
                                   .reserved = 0};
    const auto message = seal_owner_message(header, kind, payload, keys_.signing, owner_->sealing);
    if (!message) return std::unexpected(EnvironmentError::too_large);
    // Numbered before it is handed over: a message that the host drops leaves a gap that the
    // owner sees.
    ++sent_;
    return environment_.send(wire::Peer::owner, *message);
}

void OwnerChannel::report(std::string_view check, wire::Severity severity, std::string_view text,
                          std::uint64_t clock) {
    wire::Finding finding{};
    finding.hypervisor_clock = clock;
    finding.id = kOwnEvent | ++events_;
    finding.state = wire::FindingState::event;
    finding.severity = severity;
    wire::set_text(finding.check, check);
    wire::set_text(finding.text, text);
    environment_.log(text);
    static_cast<void>(send(wire::OwnerKind::finding, bytes_of(finding)));
}

std::optional<OwnerChannel::Command> OwnerChannel::open(Bytes message) {
    auto opened = open_owner_message(message, keys_.sealing);
    if (!opened || !verify_sender(*opened, owner_->signing)) return std::nullopt;
    const wire::OwnerHeader& header = opened->header;
    if (header.domain != domain_ || header.boot != boot_ || header.sequence <= taken_) {
        return std::nullopt;
    }
    taken_ = header.sequence;
    return Command{opened->kind, std::move(opened->payload)};
}

std::expected<std::optional<OwnerChannel::Command>, EnvironmentError> OwnerChannel::receive() {
    if (!owner_) return std::nullopt;
    for (int i = 0; i < kMaxForeignMessages; ++i) {
        const auto size = environment_.receive(wire::Peer::owner, 0, buffer_);
        if (!size && size.error() == EnvironmentError::stopped)
            return std::unexpected(size.error());
        if (!size) return std::nullopt;
        if (auto command = open(Bytes{buffer_}.first(*size))) return command;
    }
    return std::nullopt;
}

}  // namespace sgm::ids
