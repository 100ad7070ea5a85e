// SPDX-License-Identifier: MIT
// The remote's own timers: alive, suspect after 2 T without a sign of life, dead after 3 T, from
// the first that was heard of it on. Time is passed in (a monotonic clock's), so the timers are a
// function of what happened when.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace sgm::remote {

using Instant = std::chrono::steady_clock::time_point;

enum class Life { never_seen, alive, suspect, dead };

[[nodiscard]] constexpr std::string_view text(Life life) {
    switch (life) {
        case Life::never_seen: return "never seen";
        case Life::alive: return "alive";
        case Life::suspect: return "suspect";
        case Life::dead: return "dead";
    }
    return "unknown";
}

class Liveness final {
  public:
    struct Transition {
        Life from;
        Life to;
        std::chrono::milliseconds silence;  // since the last sign of life
    };

    explicit Liveness(std::chrono::milliseconds interval) : interval_{interval} {}

    // Goes on after a restart of the remote, which was deaf meanwhile: the silence is counted from
    // now, but what was dead stays so until it shows life.
    void resume(Life life, Instant now);

    // Something came of an IDS that has not proved its life yet: from now on it is expected to.
    void heard(Instant now);

    // The IDS proved that it lived at `at`. A proof older than one that is known changes nothing.
    [[nodiscard]] std::optional<Transition> sign_of_life(Instant at, Instant now);

    // At most one transition for each call; nothing when nothing changed.
    [[nodiscard]] std::optional<Transition> check(Instant now);

    [[nodiscard]] Life life() const { return life_; }

  private:
    [[nodiscard]] Life judge(Instant now) const;
    [[nodiscard]] std::optional<Transition> become(Life life, Instant since, Instant now);

    std::chrono::milliseconds interval_;
    Life life_ = Life::never_seen;
    bool is_expected_ = false;
    Instant last_{};
};

}  // namespace sgm::remote
