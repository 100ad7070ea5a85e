// SPDX-License-Identifier: MIT
// The IDS of this suite: the real registration, session, keeper and owner's channel, and a script
// in place of the search for a kernel.
#pragma once

#include <expected>

#include "guest/transport.hpp"
#include "ids/session_keeper.hpp"
#include "ids/testing/world.hpp"

namespace sgm::relay {

using ids::testing::Message;

class Examiner final {
  public:
    Examiner(ids::Environment& environment, const wire::SigningKey& authority,
             const wire::Uuid& domain);

    [[nodiscard]] ids::SessionKeeper& keeper() { return keeper_; }
    // False: the host wants it to end.
    [[nodiscard]] bool register_anew();
    // The answer to a batch, as it would be believed.
    [[nodiscard]] std::expected<Message, guest::TransportError> ask(Bytes batch);
    // `scanned`: everything that was asked since the last beat was answered.
    void beat(bool scanned);

  private:
    const ids::IdsKeyPairs keys_;
    ids::OwnerChannel owner_;
    ids::SessionKeeper keeper_;
    wire::Heartbeat beat_{};
};

}  // namespace sgm::relay
