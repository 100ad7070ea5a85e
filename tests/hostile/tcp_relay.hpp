// SPDX-License-Identifier: MIT
// Between sgmonitord and the authority or the remote: TCP, both ways, recorded.
#pragma once

#include <string>
#include <utility>

#include "tests/hostile/capture.hpp"
#include "tests/hostile/mischief.hpp"
#include "tests/hostile/sockets.hpp"

namespace sgm::hostile {

// "PORT:TARGET_PORT". Throws std::runtime_error.
[[nodiscard]] std::pair<std::uint16_t, std::uint16_t> parse_proxy(const std::string& text);

// Serves every client that connects. Does not return.
void relay_tcp(Descriptor listener, std::uint16_t target, Mischief& mischief, Capture& capture);

}  // namespace sgm::hostile
