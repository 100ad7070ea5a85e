// SPDX-License-Identifier: MIT
// What the authority has taken back: the signed list (wire/sgm_op.hpp) as it lies on the disk, is
// served, and is looked at before a result is signed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "config/error.hpp"
#include "crypto/keys.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::authority {

// nullopt: there is no such file, so nothing has been revoked. A file that is not this authority's
// own list is an error: going on without it would approve what was taken back.
[[nodiscard]] config::Result<std::optional<wire::SignedRevocations>> load_revocations(
    const std::filesystem::path& path, const wire::SigningKey& authority);

enum class Change { revoke, restore };

// Signs the next list and replaces the file in one step. Its sequence is greater than that of the
// last and not less than `now` in seconds, so that it grows even when the file was lost. Errors:
// already revoked, or not revoked; the list is full; the file.
[[nodiscard]] config::Result<wire::SignedRevocations> change_revocations(
    const std::filesystem::path& path, const crypto::SigningKeyPair& key, Change change,
    const wire::Revocation& entry, std::chrono::sys_seconds now);

// `sgmonitor authority revoke` and `restore`: exactly one subject, as people write it.
struct RevocationOptions {
    std::filesystem::path config = {};
    std::string mrenclave = {};
    std::string domain = {};
    std::string registration = {};
    bool everything = false;
    std::string hypervisor = {};  // key id; empty: at every hypervisor
};
[[nodiscard]] config::Result<wire::Revocation> parse_revocation(const RevocationOptions& options);

// Changes the list of the authority that `options.config` describes; a running one serves it from
// the next request on.
[[nodiscard]] config::Result<void> change_revocations(const RevocationOptions& options,
                                                      Change change);

// `sgmonitor authority revocations [--json]`.
[[nodiscard]] config::Result<void> show_revocations(const std::filesystem::path& config, bool json);

}  // namespace sgm::authority
