// SPDX-License-Identifier: MIT
// The owner's rules over a restart: sealed, and kept by the host, who gives back what it likes. So
// what comes back is these rules, an older version of them, or nothing; which of these is the
// newest only the owner knows, who sees the version in each beat (remote/monitor.hpp).
//
// Sealed to MRENCLAVE: only this very program, made for this very authority (whose key is
// measured), opens them. Under MRSIGNER they would outlive an update, but every enclave that the
// signer ever makes could open and make them; and the owner, who has the rules, gives them to a new
// program in one exchange.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "detect/rules.hpp"
#include "ids/environment.hpp"

namespace sgm::ids {

// As owner messages carry them: wire::Rules and its rules, already parsed once. Error: a sentence
// for the owner, without words of the host's.
[[nodiscard]] std::expected<void, std::string> keep_rules(Environment& environment,
                                                          const wire::Uuid& domain,
                                                          const wire::SigningKey& owner,
                                                          Bytes payload);

// nullopt: the host says that it has none. Error: what it gave is not what was kept for this owner
// and VM; a sentence for the owner.
[[nodiscard]] std::expected<std::optional<detect::Rules>, std::string> recall_rules(
    Environment& environment, const wire::Uuid& domain, const wire::SigningKey& owner);

}  // namespace sgm::ids
