// SPDX-License-Identifier: MIT
// AES-128-CMAC (RFC 4493, NIST SP 800-38B): what the CPU signs an enclave's REPORT with.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "wire/bytes.hpp"

namespace sgm::crypto {

inline constexpr std::size_t kAes128KeySize = 16;
using Cmac128 = std::array<std::uint8_t, 16>;

// Compare it with constant_time_equal (secret.hpp) where a sender could try again.
[[nodiscard]] Cmac128 aes128_cmac(std::span<const std::uint8_t, kAes128KeySize> key, Bytes message);

}  // namespace sgm::crypto
