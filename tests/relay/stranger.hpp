// SPDX-License-Identifier: MIT
// Another IDS on the same host, approved as well, whose messages the relay may put into somebody
// else's conversation.
#pragma once

#include <vector>

#include "ids/environment.hpp"
#include "tests/relay/relay.hpp"
#include "tests/relay/script.hpp"

namespace sgm::relay {

class Stranger final : public ids::Environment {
  public:
    Stranger(Relay& relay, ids::testing::World& world, const wire::Uuid& domain)
        : relay_{relay}, world_{world}, domain_{domain} {}

    // Has the whole conversation up to message `number` and returns that; `undelivered`: the
    // hypervisor has not had it. Its sessions stay open.
    [[nodiscard]] Message message(const std::vector<Step>& steps, std::size_t number,
                                  bool undelivered);

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
    Relay& relay_;
    ids::testing::World& world_;
    const wire::Uuid domain_;
    std::vector<Message> messages_;
    std::size_t wanted_ = 0;
    bool undelivered_ = false;
};

}  // namespace sgm::relay
