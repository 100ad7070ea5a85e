// SPDX-License-Identifier: MIT
// Keeps the IDS registered: a new session when the one there is was lost or nears its end. An old
// session is in use until a new one stands: an authority that is away, or a host that holds it
// back, stops nothing before the old one's true end. The owner is told of every session, and of
// every attempt to get one, that somebody interfered with.
#pragma once

#include <optional>

#include "ids/environment.hpp"
#include "ids/owner_channel.hpp"
#include "ids/registration.hpp"

namespace sgm::ids {

class SessionKeeper final {
  public:
    // `authority`: from the measured configuration page. `environment` and `owner` outlive this.
    SessionKeeper(Environment& environment, const wire::SigningKey& authority,
                  const wire::Uuid& domain, const wire::IdsKeys& ids, OwnerChannel& owner)
        : environment_{environment},
          authority_{authority},
          domain_{domain},
          ids_{ids},
          owner_{owner} {}

    // Ends the session there is, a lost one with a finding for the owner, and registers until it
    // succeeds. False: the host wants the IDS to end.
    [[nodiscard]] bool register_anew();

    // Whether another session has taken the place of the one there is.
    enum class Renewal { kept, renewed, stopped };
    // Goes on with a renewal, when it is time for one, as far as it comes without waiting. To be
    // called while has_session(); `stopped`: the host wants the IDS to end.
    [[nodiscard]] Renewal renew();
    // Hypervisor clock, when renew() has something to do again.
    [[nodiscard]] std::uint64_t renew_at() const;

    // One finding when somebody made attempts fail since the last call. To be called when the owner
    // has had a first beat: before it, it cannot know who speaks.
    void report_failed_attempts();

    // There is one, and it is not lost.
    [[nodiscard]] bool has_session() const { return registered_ && !session_is_lost(); }
    [[nodiscard]] bool session_is_lost() const { return registered_->session->end().has_value(); }

    // The rest only after register_anew() has been true. Another session after each time, and after
    // each `renewed`.
    [[nodiscard]] Session& session() const { return *registered_->session; }
    [[nodiscard]] const wire::SignedAttestationResult& attestation() const {
        return registered_->attestation;
    }

    // nullopt before the first registration.
    [[nodiscard]] std::optional<std::uint64_t> epoch() const;

    // Since the start, for the heartbeat.
    [[nodiscard]] std::uint32_t registrations() const { return registrations_; }
    [[nodiscard]] std::uint32_t refused_answers() const { return refused_answers_; }

  private:
    // The session in use from now on.
    void adopt(Registered registered);
    // Begins a renewal, or looks for the end of the one that has begun.
    [[nodiscard]] std::expected<std::optional<Registered>, RegistrationFailure> attempt();
    [[nodiscard]] std::uint64_t time_left() const;  // of the session, ns
    void report_failed_renewal(const RegistrationFailure& failure);
    void end_session(Session& session);
    void report_lost_session(const Session& session);
    void note(RegistrationError error);
    void tell_owner(wire::Severity severity, std::string_view text);

    Environment& environment_;
    const wire::SigningKey authority_;
    const wire::Uuid domain_;
    const wire::IdsKeys ids_;
    OwnerChannel& owner_;

    std::optional<Registered> registered_;
    std::optional<PendingRegistration> renewal_;  // under way
    std::uint64_t give_up_at_ = 0;                // hypervisor clock: no word of the authority
    std::uint64_t next_attempt_ = 0;              // hypervisor clock, while none is under way
    bool renewal_trouble_told_ = false;           // of this session
    std::uint32_t registrations_ = 0;
    std::uint32_t refused_answers_ = 0;              // of the hypervisor
    std::optional<RegistrationError> last_failure_;  // that the owner has not been told of
};

}  // namespace sgm::ids
