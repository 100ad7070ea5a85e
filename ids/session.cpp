// SPDX-License-Identifier: MIT
#include "ids/session.hpp"

#include "crypto/hash.hpp"
#include "wire/ring.hpp"

namespace sgm::ids {

namespace {

constexpr std::size_t kSessionKeysSize = 32 + 32 + 4 + 4;

std::array<std::uint8_t, crypto::kAeadNonceSize> nonce(const std::array<std::uint8_t, 4>& salt,
                                                       std::uint64_t counter) {
    std::array<std::uint8_t, crypto::kAeadNonceSize> out{};
    Writer writer{out};
    writer.put(salt);
    writer.put(counter);
    return out;
}

}  // namespace

std::unique_ptr<Session> Session::create(Environment& environment, const Parameters& parameters,
                                         const crypto::Secret<32>& secret) {
    const wire::SessionKeyInfo info{.label = wire::kSessionLabel,
                                    .domain = parameters.domain,
                                    .session = parameters.session,
                                    .epoch = parameters.epoch};
    crypto::Secret<32> pseudo_random_key;
    wire::Digest extracted = crypto::hkdf_extract(parameters.registration_nonce, secret.bytes());
    std::memcpy(pseudo_random_key.mutable_bytes().data(), extracted.data(), extracted.size());
    crypto::wipe(extracted);
    crypto::Secret<kSessionKeysSize> keys;
    // Cannot fail: 72 bytes are far below HKDF's bound.
    static_cast<void>(
        crypto::hkdf_expand(pseudo_random_key.bytes(), {bytes_of(info)}, keys.mutable_bytes()));
    return std::unique_ptr<Session>(new Session(environment, parameters, keys.bytes()));
}

Session::Session(Environment& environment, const Parameters& parameters, Bytes keys)
    : environment_{environment},
      parameters_{parameters},
      request_key_{keys.subspan<0, 32>()},
      answer_key_{keys.subspan<32, 32>()},
      call_buffer_(wire::kRingMaxCall),
      reply_buffer_(wire::kRingMaxReply) {
    std::memcpy(request_salt_.data(), keys.data() + 64, 4);
    std::memcpy(answer_salt_.data(), keys.data() + 68, 4);
}

wire::SealedAad Session::aad(wire::Command command, wire::Direction direction,
                             std::uint64_t counter, std::uint64_t size) const {
    return {.version = wire::kProtocolVersion,
            .direction = direction,
            .session = parameters_.session,
            .domain = parameters_.domain,
            .epoch = parameters_.epoch,
            .counter = counter,
            .size = size,
            .command = static_cast<std::uint32_t>(command),
            .reserved = 0};
}

std::expected<Bytes, guest::TransportError> Session::lose(SessionEnd end, wire::Status status) {
    end_ = end;
    end_status_ = status;
    return std::unexpected(guest::TransportError::refused);
}

// Opens an answer in place. Session, epoch and counter are compared first only to say clearly
// that this is another message: they are authenticated as part of the AAD in any case.
std::optional<Bytes> Session::open(wire::Command command, const wire::SealedHeader& header,
                                   MutableBytes text) {
    if (header.session != parameters_.session || header.epoch != parameters_.epoch ||
        header.counter != counter_ || header.size != text.size() || header.reserved != 0) {
        return std::nullopt;
    }
    const auto opened =
        answer_key_.open(nonce(answer_salt_, counter_),
                         bytes_of(aad(command, wire::Direction::answer, counter_, header.size)),
                         text, header.tag, text);
    if (!opened) return std::nullopt;
    return text;
}

std::optional<wire::Confirmation> Session::open_confirmation(const wire::SealedHeader& header,
                                                             Bytes ciphertext) {
    wire::Confirmation confirmation{};
    if (ciphertext.size() != sizeof(confirmation)) return std::nullopt;
    const MutableBytes text = mutable_bytes_of(confirmation);
    std::memcpy(text.data(), ciphertext.data(), ciphertext.size());
    if (!open(wire::Command::open, header, text)) return std::nullopt;
    clock_ = confirmation.hypervisor_clock;
    return confirmation;
}

std::expected<Bytes, guest::TransportError> Session::call(wire::Command command, Bytes batch) {
    if (end_) return std::unexpected(guest::TransportError::refused);
    if (batch.size() > wire::kMaxRequestSize) {
        return std::unexpected(guest::TransportError::too_large);
    }
    // The counter is used up whatever happens next: no nonce is ever used twice.
    ++counter_;
    const auto size = static_cast<std::uint32_t>(batch.size());
    wire::SealedHeader sealed{.session = parameters_.session,
                              .epoch = parameters_.epoch,
                              .counter = counter_,
                              .size = size,
                              .reserved = 0,
                              .tag = {}};
    Writer writer{call_buffer_};
    writer.put(wire::OpHeader{.magic = wire::kOpMagic,
                              .version = wire::kProtocolVersion,
                              .command = static_cast<std::uint16_t>(command),
                              .size = static_cast<std::uint32_t>(sizeof(sealed)) + size,
                              .status = 0});
    const MutableBytes header = writer.reserve(sizeof(sealed));
    const MutableBytes ciphertext = writer.reserve(batch.size());
    const auto done =
        request_key_.seal(nonce(request_salt_, counter_),
                          bytes_of(aad(command, wire::Direction::request, counter_, size)), batch,
                          ciphertext, sealed.tag);
    if (!writer.ok() || !done) return std::unexpected(guest::TransportError::too_large);
    std::memcpy(header.data(), &sealed, sizeof(sealed));

    const auto replied = environment_.call_hypervisor(writer.written(), reply_buffer_);
    if (!replied) return std::unexpected(guest::TransportError::unreachable);

    Reader reader{Bytes{reply_buffer_}.first(*replied)};
    const auto reply = reader.take<wire::OpHeader>();
    if (!reply || reply->magic != wire::kOpMagic || reply->version != wire::kProtocolVersion ||
        reply->command != static_cast<std::uint16_t>(command) ||
        reply->size != reader.rest().size()) {
        return lose(SessionEnd::tampered, wire::Status::malformed);
    }
    if (reply->status != static_cast<std::uint32_t>(wire::Status::ok)) {
        return lose(SessionEnd::ended, static_cast<wire::Status>(reply->status));
    }
    const auto answer = reader.take<wire::SealedHeader>();
    if (!answer || answer->size != reader.rest().size()) {
        return lose(SessionEnd::tampered, wire::Status::malformed);
    }
    const std::size_t begin = sizeof(wire::OpHeader) + sizeof(wire::SealedHeader);
    const auto text =
        open(command, *answer, MutableBytes{reply_buffer_}.subspan(begin, answer->size));
    if (!text) return lose(SessionEnd::tampered, wire::Status::refused_tag);
    return *text;
}

std::expected<Bytes, guest::TransportError> Session::exchange(Bytes batch) {
    const auto answer = call(wire::Command::request, batch);
    if (!answer) return answer;
    if (const auto head = Reader{*answer}.take<wire::BatchAnswer>()) {
        clock_ = head->hypervisor_clock;
    }
    return answer;
}

void Session::close() {
    const wire::BatchHeader nothing{.count = 0, .flags = 0};
    // Whether the hypervisor heard it or not, this end is done with the session.
    static_cast<void>(call(wire::Command::close, bytes_of(nothing)));
    if (!end_) end_ = SessionEnd::ended;
}

}  // namespace sgm::ids
