// SPDX-License-Identifier: MIT
// `POST /v1/attest`: evidence in; 200 and a SignedAttestationResult, 403 and the reason, or 400.
#pragma once

#include "authority/policy.hpp"
#include "cli/http_server.hpp"
#include "config/error.hpp"
#include "crypto/keys.hpp"

namespace sgm::authority {

class Service final {
  public:
    Service(Settings settings, crypto::SigningKeyPair key);

    // The port on which it listens from now on.
    [[nodiscard]] config::Result<std::uint16_t> start();

  private:
    [[nodiscard]] cli::HttpReply attest(Bytes evidence) const;

    Settings settings_;
    crypto::SigningKeyPair key_;
    cli::HttpServer server_;  // last: its threads end before what they use
};

}  // namespace sgm::authority
