// SPDX-License-Identifier: MIT
// Key files: two lines of text, a kind ("sgmonitor ed25519 private") and 64 hexadecimal digits.
// For Ed25519 the private part is the seed. Private files are written with mode 0600, and refused
// when the group or others may read them.
#pragma once

#include <filesystem>

#include "config/error.hpp"
#include "config/file.hpp"
#include "crypto/keys.hpp"
#include "wire/ids.hpp"

namespace sgm::config {

[[nodiscard]] Result<crypto::SigningKeyPair> load_signing_key_pair(
    const std::filesystem::path& path);
[[nodiscard]] Result<crypto::SealingKeyPair> load_sealing_key_pair(
    const std::filesystem::path& path);
[[nodiscard]] Result<wire::SigningKey> load_signing_key(const std::filesystem::path& path);
[[nodiscard]] Result<wire::SealingKey> load_sealing_key(const std::filesystem::path& path);

[[nodiscard]] Result<void> save(const std::filesystem::path& path,
                                const crypto::SigningKeyPair& pair,
                                IfExists if_exists = IfExists::refuse);
[[nodiscard]] Result<void> save(const std::filesystem::path& path,
                                const crypto::SealingKeyPair& pair,
                                IfExists if_exists = IfExists::refuse);
[[nodiscard]] Result<void> save_signing_key(const std::filesystem::path& path,
                                            const wire::SigningKey& key,
                                            IfExists if_exists = IfExists::refuse);
[[nodiscard]] Result<void> save_sealing_key(const std::filesystem::path& path,
                                            const wire::SealingKey& key,
                                            IfExists if_exists = IfExists::refuse);

// A new pair in `<stem>.key` (private) and `<stem>.pub`: what `init` does. Neither file may exist.
[[nodiscard]] Result<crypto::SigningKeyPair> create_signing_key_pair(
    const std::filesystem::path& stem);
[[nodiscard]] Result<crypto::SealingKeyPair> create_sealing_key_pair(
    const std::filesystem::path& stem);

}  // namespace sgm::config
