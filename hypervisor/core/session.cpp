// SPDX-License-Identifier: MIT
#include "hypervisor/core/session.hpp"

#include <algorithm>

namespace sgm::hypervisor {

using wire::Direction;
using wire::Status;

namespace {

static_assert((kMaxSessions & (kMaxSessions - 1)) == 0);
constexpr std::uint64_t kPlaceMask = kMaxSessions - 1;

}  // namespace

Session* SessionTable::find(std::uint64_t id) {
    Session& session = sessions_[id & kPlaceMask];
    return session.is_open() && session.scope().id == id ? &session : nullptr;
}

bool SessionTable::open(Session& session, SessionScope scope, const wire::Nonce& registration_nonce,
                        const crypto::Secret<32>& secret, KeyUsage usage) {
    const auto place = static_cast<std::uint64_t>(&session - sessions_.data());
    scope.id = (scope.id & ~kPlaceMask) | place;
    if (scope.id == 0) return false;
    session.scope_ = scope;
    session.revoked_ = 0;
    session.counter_ = 0;
    session.usage_ = usage;
    session.material_ = derive_keys(scope.name(), registration_nonce, secret);
    return true;
}

void SessionTable::close(Session& session) {
    Schedule& schedule = schedules_[session.scope_.id % kMaxSchedules];
    if (session.is_open() && schedule.id == session.scope_.id) {
        schedule.id = 0;
        schedule.keys.reset();  // wipes
    }
    crypto::wipe(session.material_.mutable_bytes());
    session.scope_ = {};
}

std::uint32_t SessionTable::close_revoked(const Revocations& revocations,
                                          const wire::Digest& hypervisor_key_id) {
    std::uint32_t closed = 0;
    for (Session& session : sessions_) {
        const SessionScope& scope = session.scope();
        const IdsIdentity ids{.domain = scope.domain,
                              .mrenclave = scope.mrenclave,
                              .binding_digest = scope.binding_digest};
        if (!session.is_open() || !revocations.cover(ids, hypervisor_key_id)) continue;
        const std::uint64_t id = scope.id;
        close(session);
        session.revoked_ = id;
        ++closed;
    }
    return closed;
}

bool SessionTable::was_revoked(std::uint64_t id) const {
    return id != 0 && sessions_[id & kPlaceMask].revoked_ == id;
}

// The sessions of one domain lie side by side, so they do not take each other's schedules.
const SessionKeys& SessionTable::keys_of(const Session& session) {
    Schedule& schedule = schedules_[session.scope().id % kMaxSchedules];
    if (schedule.id != session.scope().id) {
        schedule.keys.emplace(session.scope().name(), session.material_);
        schedule.id = session.scope().id;
    }
    return *schedule.keys;
}

std::expected<void, Status> SessionTable::unseal(Session& session, wire::Command command,
                                                 const wire::SealedHeader& header,
                                                 MutableBytes text) {
    Status why = Status::ok;
    if (header.counter <= session.counter_) {
        why = Status::refused_counter;
    } else if (!keys_of(session).open(command, Direction::request, header, text)) {
        why = Status::refused_tag;
    } else if (!session.usage_.allows(header.counter, text.size())) {
        why = Status::exhausted;
    }
    if (why != Status::ok) {
        close(session);
        return std::unexpected{why};
    }
    session.counter_ = header.counter;
    session.usage_.add(text.size());
    return {};
}

wire::SealedHeader SessionTable::seal(Session& session, wire::Command command, MutableBytes text) {
    session.usage_.add(text.size());
    return keys_of(session).seal(command, Direction::answer, session.counter_, text);
}

SessionTable::Share SessionTable::share(std::size_t index) {
    return Share{&sessions_[index * kMaxSessionsPerDomain], kMaxSessionsPerDomain};
}

std::optional<SessionTable::Share> SessionTable::share_for(const wire::Uuid& domain,
                                                           std::uint64_t now_ns) {
    std::optional<Share> free;
    for (std::size_t i = 0; i < kMaxDomains; ++i) {
        const Share some = share(i);
        close_expired(some, now_ns);
        // Those that are open are all of one domain.
        const auto open = std::ranges::find_if(some, &Session::is_open);
        if (open == some.end()) {
            if (!free) free = some;
        } else if (open->scope().domain == domain) {
            return some;
        }
    }
    return free;
}

void SessionTable::close_expired(Share share, std::uint64_t now_ns) {
    for (Session& session : share) {
        if (session.is_open() && now_ns >= session.scope().expires_ns) close(session);
    }
}

void SessionTable::close_gone(Port& port) {
    for (Session& session : sessions_) {
        if (session.is_open() && port.find(session.scope().domain) == nullptr) close(session);
    }
}

Session* SessionTable::make_room(const wire::Uuid& domain, Port& port) {
    const std::uint64_t now_ns = port.now_ns();
    auto own = share_for(domain, now_ns);
    if (!own) {
        close_gone(port);
        own = share_for(domain, now_ns);
    }
    if (!own) return nullptr;
    Session* room = &own->front();  // a closed one, else the oldest
    for (Session& session : *own) {
        if (!session.is_open()) return &session;
        if (session.scope().opened_ns < room->scope().opened_ns) room = &session;
    }
    close(*room);
    return room;
}

}  // namespace sgm::hypervisor
