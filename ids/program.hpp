// SPDX-License-Identifier: MIT
// For enclave programs of third parties: what an approved program has of SGmonitor. A session with
// the hypervisor that reads the VM, and the ear of the VM's owner, who asks and gets answers.
// The IDS itself does more (ids/watcher.hpp): it scans at every interval, whether asked or not.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>

#include "guest/memory.hpp"
#include "ids/answer.hpp"
#include "ids/environment.hpp"
#include "ids/owner_channel.hpp"
#include "ids/session_keeper.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/owner.hpp"

namespace sgm::ids {

class Program final {
  public:
    // Registers, as often as it takes: afterwards the authority has approved this enclave for this
    // VM, and said who owns it. `authority` is from the measured configuration; `domain` and
    // `interval_ms`, the time between heartbeats, are the host's word. The error is what to end
    // with. `environment` must outlive the program.
    [[nodiscard]] static std::expected<std::unique_ptr<Program>, wire::EnclaveResult> start(
        Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
        std::uint32_t interval_ms);
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    // The VM's memory, by way of the hypervisor.
    [[nodiscard]] guest::Memory& memory() { return *memory_; }

    // The owner's next query. Waits for it, and in the meantime beats, so that the owner knows
    // that the program lives, and renews the session. The error is what to end with.
    [[nodiscard]] std::expected<wire::Query, wire::EnclaveResult> next_query();

    // To the owner and nobody else. A host that drops it is noticed: the message is numbered.
    void answer(const wire::Query& query, const ProcessList& processes);

  private:
    Program(Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
            std::uint32_t interval_ms, IdsKeyPairs keys, const wire::BootId& boot);

    [[nodiscard]] bool register_anew();
    [[nodiscard]] std::optional<wire::Query> take(const OwnerChannel::Command& command);
    void beat();
    [[nodiscard]] std::uint64_t clock() const { return keeper_.session().clock(); }

    Environment& environment_;
    const std::uint32_t interval_ms_;
    const IdsKeyPairs keys_;
    OwnerChannel owner_;
    SessionKeeper keeper_;
    std::optional<guest::Memory> memory_;  // over the keeper's session
    wire::Heartbeat beat_{};
    std::uint64_t next_beat_ = 0;  // hypervisor clock, ns
};

}  // namespace sgm::ids
