// SPDX-License-Identifier: MIT
#include "ids/session.hpp"

#include <algorithm>

#include "wire/ring.hpp"

namespace sgm::ids {

using wire::Direction;

Session::Session(Environment& environment, const hypervisor::SessionName& name,
                 const wire::Nonce& registration_nonce, const crypto::Secret<32>& secret,
                 hypervisor::KeyUsage usage)
    : environment_{environment},
      epoch_{name.epoch},
      keys_{name, hypervisor::derive_keys(name, registration_nonce, secret)},
      usage_{usage},
      call_buffer_(wire::kRingMaxCall),
      reply_buffer_(wire::kRingMaxReply) {}

std::expected<Bytes, guest::TransportError> Session::lose(SessionEnd end, wire::Status status) {
    end_ = end;
    end_status_ = status;
    return std::unexpected(guest::TransportError::refused);
}

bool Session::open(wire::Command command, const wire::SealedHeader& header,
                   MutableBytes text) const {
    return header.counter == counter_ && keys_.open(command, Direction::answer, header, text);
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
    if (!usage_.allows(counter_ + 1, batch.size())) {
        return lose(SessionEnd::ended, wire::Status::exhausted);
    }
    // The counter is used up whatever happens next: no nonce is ever used twice.
    ++counter_;
    usage_.add(batch.size());
    Writer writer{call_buffer_};
    writer.put(wire::OpHeader{
        .magic = wire::kOpMagic,
        .version = wire::kProtocolVersion,
        .command = static_cast<std::uint16_t>(command),
        .size = static_cast<std::uint32_t>(sizeof(wire::SealedHeader) + batch.size()),
        .status = 0});
    const MutableBytes header = writer.reserve(sizeof(wire::SealedHeader));
    const MutableBytes text = writer.reserve(batch.size());
    if (!writer.ok()) return std::unexpected(guest::TransportError::too_large);
    std::ranges::copy(batch, text.begin());
    Writer{header}.put(keys_.seal(command, Direction::request, counter_, text));

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
    usage_.add(answer->size);
    const std::size_t begin = sizeof(wire::OpHeader) + sizeof(wire::SealedHeader);
    const MutableBytes opened = MutableBytes{reply_buffer_}.subspan(begin, answer->size);
    if (!open(command, *answer, opened)) {
        return lose(SessionEnd::tampered, wire::Status::refused_tag);
    }
    return opened;
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
