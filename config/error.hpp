// SPDX-License-Identifier: MIT
#pragma once

#include <expected>
#include <string>

namespace sgm::config {

// Why a file could not be read, believed or written: one sentence for the person who runs the
// program, naming the file, the line where there is one, and what to do when it is not obvious.
struct Error {
    std::string sentence;
};

template <typename T>
using Result = std::expected<T, Error>;

}  // namespace sgm::config
