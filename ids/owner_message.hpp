// SPDX-License-Identifier: MIT
// Sealing and opening of messages between an IDS and the VM's owner (wire/owner.hpp says how they
// look). Both ends use this, so there is one account of what is signed and what is sealed.
#pragma once

#include <expected>
#include <string_view>
#include <vector>

#include "crypto/keys.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"
#include "wire/owner.hpp"

namespace sgm::ids {

enum class MessageError {
    bad_size,        // shorter than a message, longer than one may be, or not as its header says
    bad_header,      // magic, version or reserved
    not_for_us,      // does not open with our key: sealed to another, or changed on the way
    bad_body,        // opened, but kind or size make no sense
    not_the_sender,  // opened, but not signed by whom it should be
    randomness,      // no fresh key to seal with
};

[[nodiscard]] constexpr std::string_view text(MessageError error) {
    switch (error) {
        case MessageError::bad_size: return "not the size of an owner message";
        case MessageError::bad_header: return "not the header of an owner message";
        case MessageError::not_for_us: return "sealed to another key, or changed on the way";
        case MessageError::bad_body: return "malformed inside";
        case MessageError::not_the_sender: return "not signed by the expected sender";
        case MessageError::randomness: return "no randomness";
    }
    return "unknown";
}

// An opened message: sealed to us, unchanged since. Who sealed it is known only after
// verify_sender, because for a heartbeat the sender's key is named inside.
struct OpenedMessage {
    wire::OwnerHeader header;  // with the encapsulation as it came
    wire::OwnerKind kind;
    std::vector<std::uint8_t> payload;
    wire::Signature signature;
};

inline constexpr std::size_t kMessageOverhead = sizeof(wire::OwnerHeader) +
                                                sizeof(wire::Signature) + sizeof(wire::OwnerBody) +
                                                wire::kAeadTagSize;
inline constexpr std::size_t kMaxMessagePayload = wire::kMaxOwnerMessage - kMessageOverhead;

// The header of a message that is sound in itself; `message` is anyone's.
[[nodiscard]] std::expected<wire::OwnerHeader, MessageError> parse_owner_header(Bytes message);

// `header`: domain, boot and sequence are the caller's, the rest is filled in.
// Errors: bad_size, not_for_us (a receiver key that nothing can be sealed to), randomness.
[[nodiscard]] std::expected<std::vector<std::uint8_t>, MessageError> seal_owner_message(
    wire::OwnerHeader header, wire::OwnerKind kind, Bytes payload,
    const crypto::SigningKeyPair& sender, const wire::SealingKey& receiver);

// `message` is anyone's: every byte string gives a message or an error.
[[nodiscard]] std::expected<OpenedMessage, MessageError> open_owner_message(
    Bytes message, const crypto::SealingKeyPair& receiver);

[[nodiscard]] std::expected<void, MessageError> verify_sender(const OpenedMessage& message,
                                                              const wire::SigningKey& sender);

}  // namespace sgm::ids
