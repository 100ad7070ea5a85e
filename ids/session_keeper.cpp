// SPDX-License-Identifier: MIT
#include "ids/session_keeper.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "wire/fixed_text.hpp"
#include "wire/status_text.hpp"

namespace sgm::ids {

namespace {

// Before a failed registration is tried again.
constexpr std::uint64_t kRetryWait = 500'000'000;
// Between the attempts to renew a session that has long to live.
constexpr std::uint64_t kMaxRenewalWait = 10'000'000'000;
// Between the looks for the authority's word while the old session is in use.
constexpr std::uint64_t kLookWait = 100'000'000;

// Whether somebody said no, or said something wrong. Parties that are silent may just not be there
// yet; that the IDS is silent too is the owner's to notice.
bool is_interference(RegistrationError error) {
    switch (error) {
        case RegistrationError::malformed_reply:
        case RegistrationError::bad_hypervisor_key:
        case RegistrationError::refused_by_authority:
        case RegistrationError::bad_attestation:
        case RegistrationError::refused_by_hypervisor:
        case RegistrationError::bad_confirmation: return true;
        case RegistrationError::no_authority:
        case RegistrationError::hypervisor_silent:
        case RegistrationError::no_randomness:
        case RegistrationError::no_report:
        case RegistrationError::no_quote:
        case RegistrationError::authority_silent:
        case RegistrationError::stopped: return false;
    }
    return true;
}

// What the hypervisor cannot have said.
bool is_refused_answer(RegistrationError error) {
    return error == RegistrationError::malformed_reply ||
           error == RegistrationError::bad_hypervisor_key ||
           error == RegistrationError::bad_confirmation;
}

}  // namespace

std::optional<std::uint64_t> SessionKeeper::epoch() const {
    if (!registered_) return std::nullopt;
    return session().epoch();
}

bool SessionKeeper::register_anew() {
    if (registered_) end_session(session());
    std::string last_logged;
    for (;;) {
        auto registered = register_ids(environment_, authority_, domain_, ids_);
        if (registered) {
            adopt(std::move(*registered));
            return true;
        }
        if (registered.error().error == RegistrationError::stopped) return false;
        note(registered.error().error);
        const std::string failure = describe(registered.error());
        if (failure != last_logged) environment_.log("registration failed: " + failure);
        last_logged = failure;
        const auto waited = environment_.wait(kRetryWait);
        if (!waited && waited.error() == EnvironmentError::stopped) return false;
    }
}

void SessionKeeper::adopt(Registered registered) {
    registered_ = std::move(registered);
    renewal_.reset();
    next_attempt_ = 0;
    renewal_trouble_told_ = false;
    owner_.set_owner(registered_->attestation.result.owner);
    ++registrations_;
    environment_.log(registrations_ == 1 ? "registered with the hypervisor"
                                         : "registered anew with the hypervisor");
}

std::uint64_t SessionKeeper::renew_at() const {
    if (renewal_) return session().clock() + kLookWait;
    return std::max(session().is_worn() ? 0 : registered_->renew_at, next_attempt_);
}

std::uint64_t SessionKeeper::time_left() const {
    return registered_->expires_at - std::min(session().clock(), registered_->expires_at);
}

SessionKeeper::Renewal SessionKeeper::renew() {
    const std::uint64_t now = session().clock();
    if (!renewal_ && now < renew_at()) return Renewal::kept;
    auto registered = attempt();
    if (!registered) {
        if (registered.error().error == RegistrationError::stopped) return Renewal::stopped;
        renewal_.reset();
        // More often as the end comes near.
        next_attempt_ = now + std::clamp(time_left() / 8, kRetryWait, kMaxRenewalWait);
        report_failed_renewal(registered.error());
        return Renewal::kept;
    }
    if (!*registered) return Renewal::kept;
    const std::unique_ptr<Session> old = std::move(registered_->session);
    adopt(std::move(**registered));
    end_session(*old);
    return Renewal::renewed;
}

std::expected<std::optional<Registered>, RegistrationFailure> SessionKeeper::attempt() {
    const std::uint64_t now = session().clock();
    if (!renewal_) {
        auto begun = begin_registration(environment_, authority_, domain_, ids_);
        if (!begun) return std::unexpected{std::move(begun.error())};
        renewal_ = std::move(*begun);
        give_up_at_ = now + std::clamp(time_left() / 2, kRetryWait, kAuthorityWait);
    }
    auto registered = finish_registration(environment_, authority_, *renewal_, 0);
    if (registered && !*registered && now >= give_up_at_) {
        return std::unexpected{
            RegistrationFailure{RegistrationError::authority_silent, "no answer in time"}};
    }
    return registered;
}

// Once for a session: it goes on, and its end is told too.
void SessionKeeper::report_failed_renewal(const RegistrationFailure& failure) {
    environment_.log("renewal failed: " + describe(failure));
    if (is_refused_answer(failure.error)) ++refused_answers_;
    if (renewal_trouble_told_) return;
    renewal_trouble_told_ = true;
    // Without the detail: it may be words of the host's own making.
    tell_owner(wire::Severity::warning,
               "The session cannot be renewed: " + std::string{text(failure.error)} +
                   ". It is in use until it ends.");
}

void SessionKeeper::end_session(Session& session) {
    if (!session.end()) {
        session.close();
        const bool as_it_should =
            session.end() == SessionEnd::ended && session.end_status() == wire::Status::ok;
        if (as_it_should) return;
    }
    report_lost_session(session);
}

// The owner learns of every session that did not end by our own will.
void SessionKeeper::report_lost_session(const Session& session) {
    const bool tampered = session.end() == SessionEnd::tampered;
    if (tampered) ++refused_answers_;
    tell_owner(tampered ? wire::Severity::critical : wire::Severity::warning,
               tampered ? "An answer of the hypervisor was refused: it was changed, replayed or "
                          "made up on the host. The session was closed; the IDS registers anew."
                        : "The session with the hypervisor ended: " +
                              std::string{wire::text(session.end_status())} +
                              ". The IDS registers anew.");
}

void SessionKeeper::note(RegistrationError error) {
    if (!is_interference(error)) return;
    if (is_refused_answer(error)) ++refused_answers_;
    last_failure_ = error;
}

void SessionKeeper::report_failed_attempts() {
    if (!last_failure_) return;
    // Without the detail: it may be words of the host's own making.
    tell_owner(wire::Severity::warning,
               "An attempt to register failed before: " + std::string{text(*last_failure_)} + ".");
    last_failure_.reset();
}

void SessionKeeper::tell_owner(wire::Severity severity, std::string_view text) {
    owner_.report("session", severity, text, registered_ ? session().clock() : 0);
}

}  // namespace sgm::ids
