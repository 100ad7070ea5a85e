// SPDX-License-Identifier: MIT
#include "hypervisor/core/testing/client.hpp"

#include <cstdlib>

#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"
#include "crypto/random.hpp"

namespace sgm::hypervisor::testing {
namespace {

std::array<std::uint8_t, 12> gcm_nonce(const std::array<std::uint8_t, 4>& salt,
                                       std::uint64_t counter) {
    std::array<std::uint8_t, 12> nonce{};
    Writer writer{nonce};
    writer.put(salt);
    writer.put(counter);
    return nonce;
}

}  // namespace

Message frame(wire::Command command, std::initializer_list<Bytes> payload) {
    std::size_t size = 0;
    for (const Bytes part : payload)
        size += part.size();
    const wire::OpHeader header{.magic = wire::kOpMagic,
                                .version = wire::kProtocolVersion,
                                .command = static_cast<std::uint16_t>(command),
                                .size = static_cast<std::uint32_t>(size),
                                .status = 0};
    const Bytes bytes = bytes_of(header);
    Message message{bytes.begin(), bytes.end()};
    for (const Bytes part : payload)
        message.insert(message.end(), part.begin(), part.end());
    return message;
}

Reply call(const Callee& hypervisor, Bytes message) {
    static Message reply(kMaxReplySize);  // a megabyte: tests make many calls
    Reader reader{Bytes{reply}.first(hypervisor.sgm_op(message, reply))};
    const auto header = reader.take<wire::OpHeader>();
    if (!header || header->magic != wire::kOpMagic || header->size != reader.rest().size()) {
        std::abort();
    }
    return {static_cast<wire::Status>(header->status),
            {reader.rest().begin(), reader.rest().end()}};
}

wire::Identity identity(const Callee& hypervisor) {
    const Reply reply = call(hypervisor, frame(wire::Command::identity, {}));
    const auto identity = Reader{reply.payload}.take<wire::Identity>();
    if (!identity) std::abort();
    return *identity;
}

Registrar::Registrar(const wire::Identity& hypervisor, const wire::Uuid& domain) {
    if (!crypto::random_bytes(secret.mutable_bytes())) std::abort();
    binding = {};
    binding.registration_nonce = hypervisor.registration_nonce;
    binding.domain = domain;
    binding.ids.signing.fill(0x51);
    binding.ids.sealing.fill(0x52);
    const wire::HpkeInfo info{.label = wire::kRegisterLabel,
                              .domain = domain,
                              .hypervisor_key_id = hypervisor.hypervisor_key_id};
    binding.encapsulation =
        crypto::hpke_seal(hypervisor.hypervisor_key, bytes_of(info), binding.registration_nonce,
                          secret.bytes(), binding.sealed_secret)
            .value();
    result = {};
    result.label = wire::kAttestationLabel;
    result.hypervisor_key_id = hypervisor.hypervisor_key_id;
    result.lifetime_seconds = 3600;
    rebind();
}

void Registrar::rebind() {
    result.registration_nonce = binding.registration_nonce;
    result.binding_digest = crypto::sha256(bytes_of(binding));
    result.domain = binding.domain;
    result.ids = binding.ids;
}

Message Registrar::signed_by(const crypto::SigningKeyPair& authority) const {
    const wire::Signature signature = authority.sign({bytes_of(result)});
    return frame(wire::Command::open, {bytes_of(binding), bytes_of(result), bytes_of(signature)});
}

ClientSession::ClientSession(const wire::Uuid& domain, const wire::SealedHeader& header,
                             const Keys& keys)
    : domain_{domain},
      session_{header.session},
      epoch_{header.epoch},
      request_key_{std::span{keys}.subspan<0, 32>()},
      answer_key_{std::span{keys}.subspan<32, 32>()} {
    std::memcpy(request_salt_.data(), &keys[64], request_salt_.size());
    std::memcpy(answer_salt_.data(), &keys[68], answer_salt_.size());
}

std::unique_ptr<ClientSession> ClientSession::confirm(const Registrar& registrar,
                                                      Bytes reply_payload) {
    const auto header = Reader{reply_payload}.take<wire::SealedHeader>();
    if (!header) return nullptr;
    const wire::SessionKeyInfo info{.label = wire::kSessionLabel,
                                    .domain = registrar.binding.domain,
                                    .session = header->session,
                                    .epoch = header->epoch};
    Keys keys{};
    const wire::Digest extracted =
        crypto::hkdf_extract(registrar.binding.registration_nonce, registrar.secret.bytes());
    if (!crypto::hkdf_expand(extracted, {bytes_of(info)}, keys)) return nullptr;
    std::unique_ptr<ClientSession> session{
        new ClientSession{registrar.binding.domain, *header, keys}};
    const auto text = session->open(wire::Command::open, reply_payload);
    if (!text) return nullptr;
    const auto confirmation = Reader{*text}.take<wire::Confirmation>();
    if (!confirmation) return nullptr;
    session->confirmation = *confirmation;
    return session;
}

wire::SealedAad ClientSession::aad(wire::Command command, wire::Direction direction,
                                   std::uint64_t at, std::uint64_t size) const {
    return {.version = wire::kProtocolVersion,
            .direction = direction,
            .session = session_,
            .domain = domain_,
            .epoch = epoch_,
            .counter = at,
            .size = size,
            .command = static_cast<std::uint32_t>(command),
            .reserved = 0};
}

Message ClientSession::seal(wire::Command command, Bytes batch) {
    ++counter;
    wire::SealedHeader header{.session = session_,
                              .epoch = epoch_,
                              .counter = counter,
                              .size = static_cast<std::uint32_t>(batch.size()),
                              .reserved = 0,
                              .tag = {}};
    Message text(batch.size());
    const wire::SealedAad covered = aad(command, wire::Direction::request, counter, batch.size());
    if (!request_key_.seal(gcm_nonce(request_salt_, counter), bytes_of(covered), batch, text,
                           header.tag)) {
        std::abort();
    }
    return frame(command, {bytes_of(header), text});
}

std::optional<Message> ClientSession::open(wire::Command command, Bytes reply_payload,
                                           std::uint64_t at) const {
    Reader reader{reply_payload};
    const auto header = reader.take<wire::SealedHeader>();
    if (!header) return std::nullopt;
    Message text{reader.rest().begin(), reader.rest().end()};
    if (at == 0) at = counter;
    const wire::SealedAad covered = aad(command, wire::Direction::answer, at, text.size());
    if (header->session != session_ || header->counter != at || header->size != text.size() ||
        !answer_key_.open(gcm_nonce(answer_salt_, at), bytes_of(covered), text, header->tag,
                          text)) {
        return std::nullopt;
    }
    return text;
}

std::unique_ptr<ClientSession> open_session(const Callee& hypervisor, const wire::Uuid& domain,
                                            const crypto::SigningKeyPair& authority) {
    const Registrar registrar{hypervisor, domain};
    const Reply reply = call(hypervisor, registrar.signed_by(authority));
    if (reply.status != wire::Status::ok) return nullptr;
    return ClientSession::confirm(registrar, reply.payload);
}

}  // namespace sgm::hypervisor::testing
