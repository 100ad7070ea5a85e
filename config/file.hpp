// SPDX-License-Identifier: MIT
// Small files, whole: configuration, keys, rules.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "config/error.hpp"

namespace sgm::config {

inline constexpr std::size_t kMaxFileSize = 1024 * 1024;

// The whole of a regular file of at most kMaxFileSize bytes.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path);

// The same for a secret: refused when the group or others have any right to the file.
[[nodiscard]] Result<std::string> read_private_file(const std::filesystem::path& path);

enum class IfExists { refuse, replace };

// Writes the file whole or not at all: it appears under its name only once its contents are on
// the disk. With IfExists::refuse a file that is already there stays as it is.
[[nodiscard]] Result<void> write_file(const std::filesystem::path& path, std::string_view contents,
                                      mode_t mode, IfExists if_exists);

// Makes the directory and those above it; one that is there already is fine.
[[nodiscard]] Result<void> make_directory(const std::filesystem::path& path);

}  // namespace sgm::config
