// SPDX-License-Identifier: MIT
// The VM's owner, who takes what an IDS sends as the remote does and keeps what it alarms about.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "remote/heartbeats.hpp"
#include "remote/owner_channel.hpp"

namespace sgm::relay {

class Owner final {
  public:
    Owner(remote::OwnerChannel channel, const wire::SigningKey& authority);

    // Empty when it was accepted, otherwise why not. What it tells of warning or worse goes to
    // `alarms`.
    [[nodiscard]] std::string take(Bytes message);

    std::vector<std::string> alarms;

  private:
    [[nodiscard]] std::string take_beat(const ids::OpenedMessage& message);
    void note(const std::vector<remote::Observation>& observations);

    remote::OwnerChannel channel_;
    remote::Trust trust_;
    std::optional<remote::Boot> boot_;
};

}  // namespace sgm::relay
