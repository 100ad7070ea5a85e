// SPDX-License-Identifier: MIT
// Keeps the IDS registered: one session at a time, a new one when it is lost or nears its end. The
// owner is told of every session, and of every attempt to get one, that somebody interfered with.
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

    // One finding when somebody made attempts fail since the last call. To be called when the owner
    // has had a first beat: before it, it cannot know who speaks.
    void report_failed_attempts();

    // There is one, it is not lost, and need not be renewed yet.
    [[nodiscard]] bool has_session() const;
    [[nodiscard]] bool session_is_lost() const { return registered_->session->end().has_value(); }

    // The rest only after register_anew() has been true. Another session after each time.
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
    void end_session();
    void report_lost_session();
    void note(RegistrationError error);
    void tell_owner(wire::Severity severity, std::string_view text);

    Environment& environment_;
    const wire::SigningKey authority_;
    const wire::Uuid domain_;
    const wire::IdsKeys ids_;
    OwnerChannel& owner_;

    std::optional<Registered> registered_;
    std::uint32_t registrations_ = 0;
    std::uint32_t refused_answers_ = 0;              // of the hypervisor
    std::uint64_t events_ = 0;                       // findings made so far
    std::optional<RegistrationError> last_failure_;  // that the owner has not been told of
};

}  // namespace sgm::ids
