// SPDX-License-Identifier: MIT
#include "hypervisor/core/session.hpp"

namespace sgm::hypervisor {

using wire::Direction;
using wire::Status;

void Session::open(const SessionScope& scope, const wire::Nonce& registration_nonce,
                   const crypto::Secret<32>& secret) {
    scope_ = scope;
    counter_ = 0;
    keys_.emplace(SessionName{.id = scope.id, .domain = scope.domain, .epoch = scope.epoch},
                  registration_nonce, secret);
}

void Session::close() {
    scope_ = {};
    counter_ = 0;
    keys_.reset();  // wipes
}

std::expected<void, Status> Session::unseal(wire::Command command, const wire::SealedHeader& header,
                                            MutableBytes text) {
    if (header.counter <= counter_) {
        close();
        return std::unexpected{Status::refused_counter};
    }
    if (!keys_->open(command, Direction::request, header, text)) {
        close();
        return std::unexpected{Status::refused_tag};
    }
    counter_ = header.counter;
    return {};
}

wire::SealedHeader Session::seal(wire::Command command, MutableBytes text) {
    return keys_->seal(command, Direction::answer, counter_, text);
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
