// SPDX-License-Identifier: MIT
// The few socket calls that the relay needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/descriptor.hpp"
#include "wire/bytes.hpp"

namespace sgm::hostile {

using config::Descriptor;

// These throw std::runtime_error with a sentence: the relay cannot begin without them.
[[nodiscard]] Descriptor listen_unix(const std::string& path);
[[nodiscard]] Descriptor listen_tcp(std::uint16_t port);

// Empty when the other side is not there.
[[nodiscard]] Descriptor connect_unix(const std::string& path);
[[nodiscard]] Descriptor connect_tcp(std::uint16_t port);
[[nodiscard]] Descriptor accept_from(const Descriptor& listener);

[[nodiscard]] bool read_all(const Descriptor& from, MutableBytes bytes);
[[nodiscard]] bool write_all(const Descriptor& to, Bytes bytes);

// Whether the peer has closed, or sent something that no peer of ours sends here.
[[nodiscard]] bool gone(const Descriptor& connection);

[[nodiscard]] inline Bytes text_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace sgm::hostile
