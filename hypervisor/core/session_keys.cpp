// SPDX-License-Identifier: MIT
#include "hypervisor/core/session_keys.hpp"

#include "crypto/hash.hpp"

namespace sgm::hypervisor {

using wire::Command;
using wire::Direction;

KeyMaterial derive_keys(const SessionName& name, const wire::Nonce& registration_nonce,
                        const crypto::Secret<32>& secret) {
    const wire::SessionKeyInfo info{.label = wire::kSessionLabel,
                                    .domain = name.domain,
                                    .session = name.id,
                                    .epoch = name.epoch};
    wire::Digest extracted = crypto::hkdf_extract(registration_nonce, secret.bytes());
    KeyMaterial material;
    // 72 bytes are far below HKDF's bound: this cannot fail.
    static_cast<void>(crypto::hkdf_expand(extracted, {bytes_of(info)}, material.mutable_bytes()));
    crypto::wipe(extracted);
    return material;
}

SessionKeys::SessionKeys(const SessionName& name, const KeyMaterial& material)
    : name_{name},
      request_key_{material.bytes().subspan<0, 32>()},
      answer_key_{material.bytes().subspan<32, 32>()} {
    std::memcpy(request_salt_.data(), material.bytes().data() + 64, request_salt_.size());
    std::memcpy(answer_salt_.data(), material.bytes().data() + 68, answer_salt_.size());
}

SessionKeys::~SessionKeys() {
    crypto::wipe(request_salt_);
    crypto::wipe(answer_salt_);
}

wire::SealedAad SessionKeys::aad(Command command, Direction direction, std::uint64_t counter,
                                 std::uint64_t size) const {
    return {.version = wire::kProtocolVersion,
            .direction = direction,
            .session = name_.id,
            .domain = name_.domain,
            .epoch = name_.epoch,
            .counter = counter,
            .size = size,
            .command = static_cast<std::uint32_t>(command),
            .reserved = 0};
}

std::array<std::uint8_t, crypto::kAeadNonceSize> SessionKeys::nonce(Direction direction,
                                                                    std::uint64_t counter) const {
    std::array<std::uint8_t, crypto::kAeadNonceSize> nonce{};
    Writer writer{nonce};
    writer.put(direction == Direction::request ? request_salt_ : answer_salt_);
    writer.put(counter);
    return nonce;
}

const crypto::Aes256Gcm& SessionKeys::key(Direction direction) const {
    return direction == Direction::request ? request_key_ : answer_key_;
}

wire::SealedHeader SessionKeys::seal(Command command, Direction direction, std::uint64_t counter,
                                     MutableBytes text) const {
    wire::SealedHeader header{.session = name_.id,
                              .epoch = name_.epoch,
                              .counter = counter,
                              .size = static_cast<std::uint32_t>(text.size()),
                              .reserved = 0,
                              .tag = {}};
    const wire::SealedAad covered = aad(command, direction, counter, text.size());
    // Fails only when sizes differ, and it is the same memory.
    static_cast<void>(
        key(direction).seal(nonce(direction, counter), bytes_of(covered), text, text, header.tag));
    return header;
}

bool SessionKeys::open(Command command, Direction direction, const wire::SealedHeader& header,
                       MutableBytes text) const {
    // What the header repeats is authenticated as our own: another value could only mislead.
    if (header.session != name_.id || header.epoch != name_.epoch || header.size != text.size() ||
        header.reserved != 0) {
        return false;
    }
    const wire::SealedAad covered = aad(command, direction, header.counter, text.size());
    return key(direction)
        .open(nonce(direction, header.counter), bytes_of(covered), text, header.tag, text)
        .has_value();
}

}  // namespace sgm::hypervisor
