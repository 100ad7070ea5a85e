// SPDX-License-Identifier: MIT
// The daemon's judgement: what came from the IDS, what is to be told to it, and how long it has
// been silent. Time is passed in, so all of it is tested without waiting. Not thread-safe: the
// service (remote/service.hpp) calls it from one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "remote/commands.hpp"
#include "remote/heartbeats.hpp"
#include "remote/liveness.hpp"
#include "remote/owner_channel.hpp"
#include "remote/rules.hpp"
#include "remote/store.hpp"

namespace sgm::remote {

// One moment on both clocks: timers use the monotonic one, records the other.
struct Now {
    Instant instant;
    UtcMs utc;
};

class Monitor final {
  public:
    struct Options {
        std::chrono::milliseconds interval;
        wire::SigningKey authority;
        bool allow_software_sgx;
        bool require_protection = false;  // alarm unless the hypervisor keeps the host out
    };

    // Goes on from what the store has.
    Monitor(const Options& options, OwnerChannel channel, RuleSet rules, Store& store, Now now);

    // A message from the relay: anyone's. Refused ones change nothing but a counter.
    struct Refused {
        bool malformed;
        std::string reason;
    };
    [[nodiscard]] std::expected<void, Refused> take_message(Bytes message, Now now);

    // To be called often: timers, challenges, queries that the console put into the store.
    void tick(Now now);

    // The next message to the IDS, sealed.
    [[nodiscard]] std::optional<std::vector<std::uint8_t>> next_command();

    // The daemon ends in good order.
    void end(Now now);

  private:
    struct Challenge {
        wire::Nonce nonce;
        Instant issued;
    };

    [[nodiscard]] std::expected<void, Refusal> take(const ids::OpenedMessage& message, Now now);
    [[nodiscard]] std::expected<void, Refusal> take_beat(const ids::OpenedMessage& message,
                                                         Now now);
    [[nodiscard]] std::expected<void, Refusal> take_other(const ids::OpenedMessage& message,
                                                          Now now);
    [[nodiscard]] std::optional<Instant> proven_alive(const wire::Nonce& nonce,
                                                      Instant received) const;
    void take_answer(Bytes payload);
    void note_refusal(const Refusal& refusal, Now now);
    void note_life(const Liveness::Transition& transition, Now now);
    void note_protection(const wire::Heartbeat& beat, bool is_new, Now now);
    void note_recalled_rules(const wire::Heartbeat& first, Now now);
    void note_older_rules(std::uint64_t version, Now now);
    void note_newer_rules(std::uint64_t version, Now now);
    void raise(const Observation& alert, Now now);
    void challenge(Now now);
    void take_queries(Now now);
    void save_status(Now now, bool running);

    Options options_;
    OwnerChannel channel_;
    Trust trust_;
    RuleSet rules_;
    Store& store_;

    std::optional<Boot> boot_;
    std::uint64_t command_sequence_ = 0;
    Commands commands_;
    std::deque<Challenge> challenges_;  // newest first
    Liveness liveness_;
    std::optional<UtcMs> last_sign_of_life_;
    std::uint64_t refused_ = 0;
    std::string last_refusal_;
    std::string last_alarm_;
    bool newer_rules_told_ = false;
    int beats_without_rules_ = 0;  // in a row, with rules older than ours
    Instant next_status_{};
};

}  // namespace sgm::remote
