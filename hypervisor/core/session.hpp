// SPDX-License-Identifier: MIT
// Sessions: one registered IDS and one domain each. A session is open until it expires, its domain
// is gone or reset, a counter does not grow, a tag fails, or either side closes it; its keys are
// wiped in the same moment.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>

#include "hypervisor/core/session_keys.hpp"

namespace sgm::hypervisor {

inline constexpr std::size_t kMaxSessions = 64;
// One IDS and a few that come after it before its lifetime is over.
inline constexpr std::size_t kMaxSessionsPerDomain = 8;

struct SessionScope {
    std::uint64_t id;  // never 0
    wire::Uuid domain;
    std::uint64_t epoch;
    std::uint64_t opened_ns;
    std::uint64_t expires_ns;
};

class Session final {
  public:
    [[nodiscard]] bool is_open() const { return scope_.id != 0; }
    [[nodiscard]] const SessionScope& scope() const { return scope_; }

    void open(const SessionScope& scope, const wire::Nonce& registration_nonce,
              const crypto::Secret<32>& secret);
    void close();

    // Opens a request in place. On an error the session is closed: refused_counter, refused_tag.
    [[nodiscard]] std::expected<void, wire::Status> unseal(wire::Command command,
                                                           const wire::SealedHeader& header,
                                                           MutableBytes text);

    // Seals an answer in place; its counter is that of the request that was opened last, 0 before.
    [[nodiscard]] wire::SealedHeader seal(wire::Command command, MutableBytes text);

  private:
    SessionScope scope_{};
    std::uint64_t counter_ = 0;        // the greatest so far
    std::optional<SessionKeys> keys_;  // of an open session
};

class SessionTable final {
  public:
    [[nodiscard]] Session* find(std::uint64_t id);

    // A closed session to open for `domain`. When all are taken, or the domain has its share, the
    // domain's oldest is closed for it: an IDS that starts again must not be locked out by what
    // its earlier lives left behind. nullptr: all are taken by other domains.
    [[nodiscard]] Session* make_room(const wire::Uuid& domain, std::uint64_t now_ns);

  private:
    std::array<Session, kMaxSessions> sessions_;
};

}  // namespace sgm::hypervisor
