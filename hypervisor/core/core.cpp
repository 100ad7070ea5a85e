// SPDX-License-Identifier: MIT
#include "hypervisor/core/core.hpp"

#include <algorithm>
#include <utility>

#include "crypto/hash.hpp"

namespace sgm::hypervisor {
namespace {

using wire::Command;
using wire::OpHeader;
using wire::SealedHeader;
using wire::Status;

constexpr std::uint64_t kSecondNs = 1'000'000'000;

std::array<char, 16> zero_padded(std::string_view name) {
    std::array<char, 16> result{};
    std::copy_n(name.begin(), std::min(name.size(), result.size() - 1), result.begin());
    return result;
}

}  // namespace

Core::Core(Port& port, crypto::SealingKeyPair key_pair, const wire::SigningKey& authority,
           bool allow_software_sgx)
    : port_{port},
      trust_{.key_pair = std::move(key_pair),
             .key_id = crypto::sha256(trust_.key_pair.public_key()),
             .authority = authority,
             .allow_software_sgx = allow_software_sgx},
      operations_{port} {}

std::size_t Core::sgm_op(Bytes call, MutableBytes reply) {
    if (reply.size() < kMaxReplySize) return 0;

    Status status = Status::malformed;
    std::uint16_t command = 0;
    Writer payload{MutableBytes{reply_}.subspan(sizeof(OpHeader))};
    if (call.size() >= sizeof(OpHeader) && call.size() <= call_.size()) {
        std::memcpy(call_.data(), call.data(), call.size());
        const MutableBytes copy = MutableBytes{call_}.first(call.size());
        const OpHeader header = Reader{copy}.take<OpHeader>().value_or(OpHeader{});
        command = header.command;
        const MutableBytes rest = copy.subspan(sizeof(OpHeader));
        if (header.magic == wire::kOpMagic && header.size == rest.size() && header.status == 0) {
            status = header.version == wire::kProtocolVersion
                         ? run(static_cast<Command>(command), rest, payload)
                         : Status::unsupported;
        }
    }

    const std::size_t payload_size = status == Status::ok ? payload.size() : 0;
    Writer{reply_}.put(OpHeader{.magic = wire::kOpMagic,
                                .version = wire::kProtocolVersion,
                                .command = command,
                                .size = static_cast<std::uint32_t>(payload_size),
                                .status = static_cast<std::uint32_t>(status)});
    const std::size_t size = sizeof(OpHeader) + payload_size;
    std::memcpy(reply.data(), reply_.data(), size);
    return size;
}

Status Core::run(Command command, MutableBytes payload, Writer& out) {
    switch (command) {
        case Command::identity: return identity(payload, out);
        case Command::open: return open(payload, out);
        case Command::request:
        case Command::close: return sealed(command, payload, out);
        case Command::revoke: return revoke(payload, out);
    }
    return Status::unsupported;
}

Status Core::identity(Bytes payload, Writer& out) {
    if (!payload.empty()) return Status::malformed;
    wire::Nonce nonce{};
    if (!port_.random(nonce)) return Status::internal;
    nonces_.add(nonce, port_.now_ns());
    out.put(wire::Identity{.hypervisor_key = trust_.key_pair.public_key(),
                           .hypervisor_key_id = trust_.key_id,
                           .registration_nonce = nonce,
                           .authority_key = trust_.authority,
                           .port = zero_padded(port_.name()),
                           .max_request_size = wire::kMaxRequestSize,
                           .max_answer_size = wire::kMaxAnswerSize,
                           .max_walk_nodes = wire::kMaxWalkNodes,
                           .max_sessions = kMaxSessions});
    return Status::ok;
}

Status Core::open(Bytes payload, Writer& out) {
    if (payload.size() != sizeof(request_)) return Status::malformed;
    std::memcpy(&request_, payload.data(), sizeof(request_));
    const auto registration = check(request_, trust_, nonces_, revocations_, port_);
    if (!registration) return registration.error();

    const wire::RegistrationBinding& binding = request_.binding;
    nonces_.use(binding.registration_nonce);
    const auto secret = open_secret(binding, trust_);
    if (!secret) return secret.error();

    std::uint64_t random_id = 0;
    if (!port_.random(mutable_bytes_of(random_id))) return Status::internal;
    const std::uint64_t now_ns = port_.now_ns();
    Session* const session = sessions_.make_room(binding.domain, port_);
    if (session == nullptr) return Status::too_many_sessions;
    // Random, so that what is left of another start of this hypervisor names no session of this.
    if (!sessions_.open(*session,
                        {.id = random_id,
                         .domain = binding.domain,
                         .mrenclave = registration->ids.mrenclave,
                         .binding_digest = registration->ids.binding_digest,
                         .epoch = registration->domain->epoch(),
                         .opened_ns = now_ns,
                         .expires_ns = registration->expires_ns},
                        binding.registration_nonce, *secret)) {
        return Status::internal;
    }

    const MutableBytes header = out.reserve(sizeof(SealedHeader));
    const MutableBytes text = out.reserve(sizeof(wire::Confirmation));
    const std::uint64_t left_ns =
        registration->expires_ns - std::min(now_ns, registration->expires_ns);
    Writer{text}.put(
        wire::Confirmation{.binding_digest = registration->ids.binding_digest,
                           .session = session->scope().id,
                           .epoch = session->scope().epoch,
                           .hypervisor_clock = now_ns,
                           .lifetime_seconds = static_cast<std::uint32_t>(left_ns / kSecondNs),
                           .reserved = 0});
    Writer{header}.put(sessions_.seal(*session, Command::open, text));
    return Status::ok;
}

Status Core::revoke(Bytes payload, Writer& out) {
    if (payload.size() != sizeof(signed_revocations_)) return Status::malformed;
    std::memcpy(&signed_revocations_, payload.data(), sizeof(signed_revocations_));
    const Status status = revocations_.take(signed_revocations_, trust_.authority);
    if (status != Status::ok) return status;
    out.put(wire::RevocationReceipt{
        .sequence = revocations_.sequence(),
        .sessions_closed = sessions_.close_revoked(revocations_, trust_.key_id),
        .reserved = 0});
    return Status::ok;
}

Status Core::sealed(Command command, MutableBytes payload, Writer& out) {
    const auto header = Reader{payload}.take<SealedHeader>();
    if (!header || header->reserved != 0) return Status::malformed;
    const MutableBytes text = payload.subspan(sizeof(SealedHeader));
    if (header->size != text.size()) return Status::malformed;

    Session* const session = sessions_.find(header->session);
    if (session == nullptr) {
        return sessions_.was_revoked(header->session) ? Status::revoked : Status::no_such_session;
    }
    const auto domain = still_valid(*session);
    if (!domain) return domain.error();
    if (const auto opened = sessions_.unseal(*session, command, *header, text); !opened) {
        return opened.error();
    }
    const Status status = execute(command, *session, **domain, text, out);
    // A close ends the session; so does what the peer takes for its end, an answer without a seal.
    if (command == Command::close || status != Status::ok) sessions_.close(*session);
    return status;
}

std::expected<Domain*, Status> Core::still_valid(Session& session) {
    Status why = Status::ok;
    Domain* const domain = port_.find(session.scope().domain);
    if (port_.now_ns() >= session.scope().expires_ns) {
        why = Status::lifetime_over;
    } else if (domain == nullptr) {
        why = Status::wrong_domain;
    } else if (domain->epoch() != session.scope().epoch) {
        why = Status::stale_epoch;
    }
    if (why == Status::ok) return domain;
    sessions_.close(session);
    return std::unexpected{why};
}

Status Core::execute(Command command, Session& session, Domain& domain, Bytes batch, Writer& out) {
    if (command == Command::close && batch.size() != sizeof(wire::BatchHeader)) {
        return Status::malformed;
    }
    // In the core's own memory: what is in `reply` the host can read, and change before the seal.
    const MutableBytes header = out.reserve(sizeof(SealedHeader));
    const MutableBytes room = MutableBytes{reply_}.last(out.room());
    const auto size = operations_.execute(domain, batch, room);
    if (!size) return Status::malformed;
    const MutableBytes answer = out.reserve(*size);
    Writer{header}.put(sessions_.seal(session, command, answer));
    return Status::ok;
}

}  // namespace sgm::hypervisor
