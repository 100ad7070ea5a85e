// SPDX-License-Identifier: MIT
// A whole world around an IDS, in one process and without an enclave: the real hypervisor core
// over a synthetic guest, an authority, an owner, and in between a host that the test may make as
// hostile as it likes. Everything that the host carries is kept, as a host could keep it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crypto/keys.hpp"
#include "hypervisor/core/core.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "ids/environment.hpp"
#include "ids/owner_message.hpp"
#include "sgx/enclave/testing/fake_seal_keys.hpp"
#include "wire/attestation.hpp"
#include "wire/owner.hpp"

namespace sgm::ids::testing {

using Message = std::vector<std::uint8_t>;

class World final : public Environment {
  public:
    World();

    // --- what the host does
    std::function<bool(const Message&)> drops = [](const Message&) { return false; };
    std::function<void(Message&)> on_call = [](Message&) {};   // to the hypervisor
    std::function<void(Message&)> on_reply = [](Message&) {};  // from the hypervisor
    std::vector<Message> carried;                              // everything, in order
    std::optional<Message>
        stored;          // what the IDS gave to be kept, or what a hostile host has instead
    bool stores = true;  // false: the host keeps nothing new
    int waits_left = 0;  // after so many waits the host says stop
    std::function<void()> on_wait = [] {};

    // --- what the authority does
    std::function<void(wire::AttestationResult&)> on_attestation = [](wire::AttestationResult&) {};
    std::optional<std::string> refusal;
    bool authority_answers = true;
    crypto::SigningKeyPair authority;
    std::optional<crypto::SigningKeyPair> false_authority;  // signs instead
    std::uint32_t lifetime_seconds = 3600;

    // --- the CPU
    enclave::testing::FakeSealKeys cpu;

    std::function<bool()> memory_runs_short = [] { return false; };
    void run_out_of_memory() { say_last_words_(last_words_argument_); }

    // --- the hypervisor
    hypervisor::testing::SyntheticGuest guest;
    hypervisor::testing::SyntheticPort port;
    crypto::SealingKeyPair hypervisor_key;
    wire::Digest enrolled_key_id;  // with the authority: of hypervisor_key, unless told otherwise
    std::unique_ptr<hypervisor::Core> core;
    [[nodiscard]] const wire::Uuid& domain() const { return guest.id; }

    // --- the owner
    crypto::SigningKeyPair owner_signing;
    crypto::SealingKeyPair owner_sealing;
    std::vector<OpenedMessage> owner_got;  // every message, opened and its signature checked
    // Queues a command as the owner would send it to the IDS that was heard last.
    void command(wire::OwnerKind kind, Bytes payload);
    std::deque<Message> to_ids;
    [[nodiscard]] std::vector<wire::Heartbeat> beats() const;
    [[nodiscard]] std::vector<wire::Finding> findings() const;

    std::vector<std::string> log_lines;

    // --- Environment
    std::expected<std::size_t, EnvironmentError> call_hypervisor(Bytes call,
                                                                 MutableBytes reply) override;
    std::expected<void, EnvironmentError> send(wire::Peer peer, Bytes message) override;
    std::expected<std::size_t, EnvironmentError> receive(wire::Peer peer, std::uint64_t wait_ns,
                                                         MutableBytes into) override;
    std::expected<void, EnvironmentError> wait(std::uint64_t wait_ns) override;
    std::expected<std::array<std::uint8_t, 432>, EnvironmentError> report(
        const std::array<std::uint8_t, 64>& report_data) override;
    enclave::SealKeys& seal_keys() override { return cpu; }
    bool memory_is_short() override { return memory_runs_short(); }
    void set_last_words(void (*say)(void*), void* argument) override {
        say_last_words_ = say;
        last_words_argument_ = argument;
    }

  private:
    [[nodiscard]] Message appraise(Bytes evidence);
    void deliver_to_owner(Bytes message);

    Message quote_;    // the report data: the authority's own tests verify real quotes
    Message verdict_;  // waiting for receive()
    wire::BootId boot_{};
    wire::IdsKeys ids_{};
    std::uint64_t command_sequence_ = 0;
    void (*say_last_words_)(void*) = nullptr;
    void* last_words_argument_ = nullptr;
};

}  // namespace sgm::ids::testing
