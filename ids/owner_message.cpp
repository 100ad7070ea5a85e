// SPDX-License-Identifier: MIT
#include "ids/owner_message.hpp"

#include "crypto/hpke.hpp"

namespace sgm::ids {
namespace {

constexpr std::uint32_t kVersion = 1;

[[nodiscard]] bool is_known(wire::OwnerKind kind) {
    switch (kind) {
        case wire::OwnerKind::heartbeat:
        case wire::OwnerKind::finding:
        case wire::OwnerKind::answer:
        case wire::OwnerKind::challenge:
        case wire::OwnerKind::query:
        case wire::OwnerKind::rules: return true;
    }
    return false;
}

// The header as it is signed and taken as additional data: the encapsulation comes out of the
// sealing, so it cannot be part of what is sealed; HPKE's key schedule binds it instead.
[[nodiscard]] wire::OwnerHeader without_encapsulation(wire::OwnerHeader header) {
    header.encapsulation = {};
    return header;
}

}  // namespace

std::expected<wire::OwnerHeader, MessageError> parse_owner_header(Bytes message) {
    if (message.size() < kMessageOverhead || message.size() > wire::kMaxOwnerMessage) {
        return std::unexpected{MessageError::bad_size};
    }
    Reader reader{message};
    const auto header = reader.take<wire::OwnerHeader>();
    if (!header) return std::unexpected{MessageError::bad_size};
    if (header->magic != wire::kOwnerMagic || header->version != kVersion ||
        header->reserved != 0) {
        return std::unexpected{MessageError::bad_header};
    }
    if (header->size != reader.rest().size()) return std::unexpected{MessageError::bad_size};
    return *header;
}

std::expected<std::vector<std::uint8_t>, MessageError> seal_owner_message(
    wire::OwnerHeader header, wire::OwnerKind kind, Bytes payload,
    const crypto::SigningKeyPair& sender, const wire::SealingKey& receiver) {
    if (payload.size() > kMaxMessagePayload) return std::unexpected{MessageError::bad_size};
    const std::size_t size = kMessageOverhead + payload.size();
    header.magic = wire::kOwnerMagic;
    header.version = kVersion;
    header.encapsulation = {};
    header.size = static_cast<std::uint32_t>(size - sizeof(wire::OwnerHeader));
    header.reserved = 0;
    const wire::OwnerBody body{.kind = kind, .size = static_cast<std::uint32_t>(payload.size())};
    const wire::Signature signature =
        sender.sign({wire::kOwnerLabel, bytes_of(header), bytes_of(body), payload});

    std::vector<std::uint8_t> plaintext(header.size - wire::kAeadTagSize);
    Writer writer{plaintext};
    writer.put(signature);
    writer.put(body);
    writer.put_bytes(payload);

    std::vector<std::uint8_t> message(size);
    const MutableBytes ciphertext = MutableBytes{message}.subspan(sizeof(wire::OwnerHeader));
    const auto encapsulation =
        crypto::hpke_seal(receiver, wire::kOwnerLabel, bytes_of(header), plaintext, ciphertext);
    if (!encapsulation) {
        return std::unexpected{encapsulation.error() == crypto::Error::randomness
                                   ? MessageError::randomness
                                   : MessageError::not_for_us};
    }
    header.encapsulation = *encapsulation;
    Writer{message}.put(header);
    return message;
}

std::expected<OpenedMessage, MessageError> open_owner_message(
    Bytes message, const crypto::SealingKeyPair& receiver) {
    const auto header = parse_owner_header(message);
    if (!header) return std::unexpected{header.error()};
    const Bytes ciphertext = message.subspan(sizeof(wire::OwnerHeader));
    std::vector<std::uint8_t> plaintext(ciphertext.size() - wire::kAeadTagSize);
    const wire::OwnerHeader aad = without_encapsulation(*header);
    if (!crypto::hpke_open(receiver, header->encapsulation, wire::kOwnerLabel, bytes_of(aad),
                           ciphertext, plaintext)) {
        return std::unexpected{MessageError::not_for_us};
    }
    Reader reader{plaintext};
    const auto signature = reader.take<wire::Signature>();
    const auto body = reader.take<wire::OwnerBody>();
    if (!signature || !body || body->size != reader.rest().size() || !is_known(body->kind)) {
        return std::unexpected{MessageError::bad_body};
    }
    const Bytes payload = reader.rest();
    return OpenedMessage{.header = *header,
                         .kind = body->kind,
                         .payload = {payload.begin(), payload.end()},
                         .signature = *signature};
}

std::expected<void, MessageError> verify_sender(const OpenedMessage& message,
                                                const wire::SigningKey& sender) {
    const wire::OwnerHeader header = without_encapsulation(message.header);
    const wire::OwnerBody body{.kind = message.kind,
                               .size = static_cast<std::uint32_t>(message.payload.size())};
    if (!crypto::verify(sender, message.signature,
                        {wire::kOwnerLabel, bytes_of(header), bytes_of(body), message.payload})) {
        return std::unexpected{MessageError::not_the_sender};
    }
    return {};
}

}  // namespace sgm::ids
