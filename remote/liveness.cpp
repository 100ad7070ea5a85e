// SPDX-License-Identifier: MIT
#include "remote/liveness.hpp"

namespace sgm::remote {

void Liveness::resume(Life life, Instant now) {
    life_ = life;
    last_ = now;
}

void Liveness::heard(Instant now) {
    if (life_ != Life::never_seen || is_expected_) return;
    is_expected_ = true;
    last_ = now;
}

Life Liveness::judge(Instant now) const {
    const auto silence = now - last_;
    if (silence >= 3 * interval_) return Life::dead;
    if (silence >= 2 * interval_) return Life::suspect;
    return Life::alive;
}

std::optional<Liveness::Transition> Liveness::become(Life life, Instant since, Instant now) {
    if (life == life_) return std::nullopt;
    const Transition transition{
        .from = life_,
        .to = life,
        .silence = std::chrono::duration_cast<std::chrono::milliseconds>(now - since)};
    life_ = life;
    return transition;
}

std::optional<Liveness::Transition> Liveness::sign_of_life(Instant at, Instant now) {
    if (life_ != Life::never_seen && at <= last_) return std::nullopt;
    const Instant before = life_ == Life::never_seen ? at : last_;
    last_ = at;
    // An old proof makes nothing better: what is dead does not become suspect by it.
    if (judge(now) != Life::alive) return std::nullopt;
    return become(Life::alive, before, now);
}

std::optional<Liveness::Transition> Liveness::check(Instant now) {
    if (life_ == Life::dead || (life_ == Life::never_seen && !is_expected_)) return std::nullopt;
    const Life judged = judge(now);
    if (judged == Life::alive) return std::nullopt;
    return become(judged, last_, now);
}

}  // namespace sgm::remote
