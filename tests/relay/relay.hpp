// SPDX-License-Identifier: MIT
// The host between an IDS and the hypervisor, as an attacker: it carries a conversation, does to it
// what one case says, and watches what must hold of everything that crosses.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ids/environment.hpp"
#include "ids/testing/world.hpp"
#include "tests/relay/attack.hpp"
#include "tests/relay/leaks.hpp"

namespace sgm::relay {

using ids::EnvironmentError;
using ids::testing::Message;

// Any hypervisor that speaks the protocol: call in, reply out, the reply's size back.
using Hypervisor = std::function<std::size_t(Bytes call, MutableBytes reply)>;
// How often it has looked at guest memory.
using ReadCount = std::function<std::uint64_t()>;

class Relay final : public ids::Environment {
  public:
    // `world` lends its authority. All outlive this.
    Relay(ids::testing::World& world, Hypervisor hypervisor, ReadCount reads, const Leaks& leaks);

    // --- the case
    // From the next message on, which is number 0. `substitute`: for cases that put another's
    // message in place.
    void arm(const Case& attack, Message substitute);
    // Honest again.
    void disarm() { case_.reset(); }
    // Forgets all that was before: parties that know nothing of it begin.
    void begin();

    // The case has been carried out, to its end.
    [[nodiscard]] bool is_over() const { return over_; }
    [[nodiscard]] std::uint32_t refusals_by_hypervisor() const { return refusals_; }
    [[nodiscard]] bool authority_refused() const { return authority_refused_; }
    [[nodiscard]] std::uint32_t waits() const { return waits_; }

    // Of the messages so far.
    [[nodiscard]] std::vector<std::size_t> sizes() const;

    // What did not hold since the last call; empty when all did.
    [[nodiscard]] std::string take_violation();

    // --- for the other parties on this host
    // A call that one of them truly made, and may be delivered once.
    void note_call(Bytes call) { calls_.emplace_back(call.begin(), call.end()); }
    // To the hypervisor and back, with all checks.
    [[nodiscard]] Message deliver(Bytes call);

    // Sealed messages for the owner that wait to be taken.
    std::vector<Message> to_owner;

    // --- Environment
    std::expected<std::size_t, EnvironmentError> call_hypervisor(Bytes call,
                                                                 MutableBytes reply) override;
    std::expected<void, EnvironmentError> send(wire::Peer peer, Bytes message) override;
    std::expected<std::size_t, EnvironmentError> receive(wire::Peer peer, std::uint64_t wait_ns,
                                                         MutableBytes into) override;
    std::expected<void, EnvironmentError> wait(std::uint64_t wait_ns) override;
    std::expected<std::array<std::uint8_t, 432>, EnvironmentError> report(
        const std::array<std::uint8_t, 64>& report_data) override;
    enclave::SealKeys& seal_keys() override { return world_.seal_keys(); }

  private:
    // A call and its reply under way.
    struct Exchange {
        std::size_t at;  // number of the call
        Message call;
        Message reply;
        bool delivered = false;  // `reply` is there, or never will be
        bool answered = true;    // the IDS gets a reply
    };
    void attack_call(Exchange& exchange);
    void attack_reply(Exchange& exchange);
    void change(Message& message);
    void send_late(Exchange& exchange);
    void note_over() { over_ = true; }
    void violate(std::string what);
    void check_reply(Bytes call, Bytes reply, std::uint64_t reads);

    ids::testing::World& world_;
    Hypervisor hypervisor_;
    ReadCount reads_;
    const Leaks& leaks_;
    Message buffer_;  // for a reply of any size

    std::optional<Case> case_;
    bool over_ = false;
    Message substitute_;
    Message held_;                   // kept back, by reorder
    std::vector<Message> messages_;  // as they came from their senders
    std::vector<Message> calls_;     // made and not yet taken by the hypervisor

    std::uint32_t steps_ = 0;  // calls and waits in this case
    std::uint32_t waits_ = 0;
    std::uint32_t refusals_ = 0;
    bool authority_refused_ = false;
    std::string violation_;
};

}  // namespace sgm::relay
