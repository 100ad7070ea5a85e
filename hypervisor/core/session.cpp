// SPDX-License-Identifier: MIT
#include "hypervisor/core/session.hpp"

#include "crypto/hash.hpp"

namespace sgm::hypervisor {
namespace {

using wire::Status;
using GcmNonce = std::array<std::uint8_t, crypto::kAeadNonceSize>;

GcmNonce gcm_nonce(const std::array<std::uint8_t, 4>& salt, std::uint64_t counter) {
    GcmNonce nonce{};
    std::memcpy(nonce.data(), salt.data(), salt.size());
    std::memcpy(nonce.data() + salt.size(), &counter, sizeof(counter));
    return nonce;
}

}  // namespace

void Session::open(const SessionScope& scope, const wire::Nonce& registration_nonce,
                   const crypto::Secret<32>& secret) {
    const wire::SessionKeyInfo info{.label = wire::kSessionLabel,
                                    .domain = scope.domain,
                                    .session = scope.id,
                                    .epoch = scope.epoch};
    wire::Digest extracted = crypto::hkdf_extract(registration_nonce, secret.bytes());
    crypto::Secret<72> keys;
    // 72 bytes are far below HKDF's bound: this cannot fail.
    static_cast<void>(crypto::hkdf_expand(extracted, {bytes_of(info)}, keys.mutable_bytes()));
    crypto::wipe(extracted);

    const Bytes bytes = keys.bytes();
    scope_ = scope;
    counter_ = 0;
    request_key_.emplace(bytes.subspan<0, 32>());
    answer_key_.emplace(bytes.subspan<32, 32>());
    std::memcpy(request_salt_.data(), &bytes[64], request_salt_.size());
    std::memcpy(answer_salt_.data(), &bytes[68], answer_salt_.size());
}

void Session::close() {
    scope_ = {};
    counter_ = 0;
    request_key_.reset();  // wipes
    answer_key_.reset();
    crypto::wipe(request_salt_);
    crypto::wipe(answer_salt_);
}

wire::SealedAad Session::aad(wire::Command command, wire::Direction direction,
                             std::uint64_t counter, std::uint64_t size) const {
    return {.version = wire::kProtocolVersion,
            .direction = direction,
            .session = scope_.id,
            .domain = scope_.domain,
            .epoch = scope_.epoch,
            .counter = counter,
            .size = size,
            .command = static_cast<std::uint32_t>(command),
            .reserved = 0};
}

std::expected<void, Status> Session::unseal(wire::Command command, const wire::SealedHeader& header,
                                            MutableBytes text) {
    if (header.counter <= counter_) {
        close();
        return std::unexpected{Status::refused_counter};
    }
    // The epoch in the header is covered as our own: another one cannot authenticate.
    const wire::SealedAad covered =
        aad(command, wire::Direction::request, header.counter, text.size());
    if (header.epoch != scope_.epoch ||
        !request_key_->open(gcm_nonce(request_salt_, header.counter), bytes_of(covered), text,
                            header.tag, text)) {
        close();
        return std::unexpected{Status::refused_tag};
    }
    counter_ = header.counter;
    return {};
}

wire::SealedHeader Session::seal(wire::Command command, MutableBytes text) {
    wire::SealedHeader header{.session = scope_.id,
                              .epoch = scope_.epoch,
                              .counter = counter_,
                              .size = static_cast<std::uint32_t>(text.size()),
                              .reserved = 0,
                              .tag = {}};
    const wire::SealedAad covered = aad(command, wire::Direction::answer, counter_, text.size());
    // Fails only when sizes differ, and it is the same memory.
    static_cast<void>(answer_key_->seal(gcm_nonce(answer_salt_, counter_), bytes_of(covered), text,
                                        text, header.tag));
    return header;
}

Session* SessionTable::find(std::uint64_t id) {
    if (id == 0) return nullptr;
    for (Session& session : sessions_) {
        if (session.scope().id == id) return &session;
    }
    return nullptr;
}

Session* SessionTable::make_room(const wire::Uuid& domain, std::uint64_t now_ns) {
    Session* free = nullptr;
    Session* oldest = nullptr;  // of this domain
    std::size_t count = 0;      // of this domain
    for (Session& session : sessions_) {
        if (session.is_open() && now_ns >= session.scope().expires_ns) session.close();
        if (!session.is_open()) {
            free = &session;
        } else if (session.scope().domain == domain) {
            ++count;
            if (oldest == nullptr || session.scope().opened_ns < oldest->scope().opened_ns) {
                oldest = &session;
            }
        }
    }
    if (free != nullptr && count < kMaxSessionsPerDomain) return free;
    if (oldest != nullptr) oldest->close();
    return oldest;
}

}  // namespace sgm::hypervisor
