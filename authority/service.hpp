// SPDX-License-Identifier: MIT
// `POST /v1/attest`: evidence in; 200 and a SignedAttestationResult, 403 and the reason, or 400.
// `GET /v1/revocations/current`: 200 and SignedRevocations, or 204 as long as nothing was revoked.
// Both 500 when the list of revocations is there and cannot be read.
#pragma once

#include <optional>

#include "authority/policy.hpp"
#include "authority/revocations.hpp"
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
    [[nodiscard]] cli::HttpReply revocations() const;
    // The list as it is now: `authority revoke` writes it while this runs.
    [[nodiscard]] config::Result<std::optional<wire::SignedRevocations>> load() const;

    Settings settings_;
    crypto::SigningKeyPair key_;
    cli::HttpServer server_;  // last: its threads end before what they use
};

}  // namespace sgm::authority
