// SPDX-License-Identifier: MIT
// Sessions: one registered IDS and one domain each. A session is open until it expires, its domain
// is gone or reset, a counter does not grow, a tag fails, its keys are used up, or either side
// closes it; its keys are wiped in the same moment.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>

#include "hypervisor/core/port.hpp"
#include "hypervisor/core/revocations.hpp"
#include "hypervisor/core/session_keys.hpp"

namespace sgm::hypervisor {

inline constexpr std::size_t kMaxDomains = 1024;
// One IDS, its next session while it renews, and a few that earlier starts left behind.
inline constexpr std::size_t kMaxSessionsPerDomain = 8;
inline constexpr std::size_t kMaxSessions = kMaxDomains * kMaxSessionsPerDomain;
// Sessions whose AES key schedules, 2 KiB, are at hand; any other's are made anew for a message.
inline constexpr std::size_t kMaxSchedules = 64;

struct SessionScope {
    std::uint64_t id;  // never 0
    wire::Uuid domain;
    wire::Digest mrenclave;
    wire::Digest binding_digest;
    std::uint64_t epoch;
    std::uint64_t opened_ns;
    std::uint64_t expires_ns;

    [[nodiscard]] SessionName name() const { return {.id = id, .domain = domain, .epoch = epoch}; }
};

class Session final {
  public:
    [[nodiscard]] bool is_open() const { return scope_.id != 0; }
    [[nodiscard]] const SessionScope& scope() const { return scope_; }

  private:
    friend class SessionTable;
    SessionScope scope_{};
    std::uint64_t counter_ = 0;  // the greatest so far
    KeyUsage usage_;
    KeyMaterial material_;  // zeros when closed
    // The id of the session that was here before and that the authority revoked, so that its IDS
    // can be told why; 0: none.
    std::uint64_t revoked_ = 0;
};

// Room for kMaxSessionsPerDomain sessions of each of kMaxDomains domains: no domain can take what
// belongs to another. A session's place is in its id, so finding one costs the same for all.
class SessionTable final {
  public:
    [[nodiscard]] Session* find(std::uint64_t id);
    // Open or not.
    [[nodiscard]] std::span<const Session> all() const { return sessions_; }

    // A closed session to open for `domain`. When the domain has its share, its oldest is closed
    // for it: an IDS that starts again must not be locked out by what its earlier lives left
    // behind. nullptr: kMaxDomains other domains that exist have sessions.
    [[nodiscard]] Session* make_room(const wire::Uuid& domain, Port& port);

    // `scope.id` is a random number, and the id keeps all but the place of it. False, and the
    // session stays closed, for the rare number that makes no id. `usage`: what its keys have
    // sealed before, for tests of their bounds.
    [[nodiscard]] bool open(Session& session, SessionScope scope,
                            const wire::Nonce& registration_nonce, const crypto::Secret<32>& secret,
                            KeyUsage usage = {});
    void close(Session& session);
    // Closes what `revocations` covers; how many sessions that were.
    [[nodiscard]] std::uint32_t close_revoked(const Revocations& revocations,
                                              const wire::Digest& hypervisor_key_id);
    // Whether a session of this id was closed so, and no other has taken its place.
    [[nodiscard]] bool was_revoked(std::uint64_t id) const;

    // Opens a request in place. On an error the session is closed: refused_counter, refused_tag,
    // exhausted.
    [[nodiscard]] std::expected<void, wire::Status> unseal(Session& session, wire::Command command,
                                                           const wire::SealedHeader& header,
                                                           MutableBytes text);

    // Seals an answer in place; its counter is that of the request that was opened last, 0 before.
    [[nodiscard]] wire::SealedHeader seal(Session& session, wire::Command command,
                                          MutableBytes text);

  private:
    using Share = std::span<Session, kMaxSessionsPerDomain>;
    struct Schedule {
        std::uint64_t id = 0;  // of the session, 0: none
        std::optional<SessionKeys> keys;
    };

    [[nodiscard]] Share share(std::size_t index);
    // The share that `domain` has, else one that nobody has; empty when there is none.
    [[nodiscard]] std::optional<Share> share_for(const wire::Uuid& domain, std::uint64_t now_ns);
    void close_expired(Share share, std::uint64_t now_ns);
    void close_gone(Port& port);
    [[nodiscard]] const SessionKeys& keys_of(const Session& session);

    std::array<Session, kMaxSessions> sessions_;
    std::array<Schedule, kMaxSchedules> schedules_;
};

}  // namespace sgm::hypervisor
