// SPDX-License-Identifier: MIT
// The random source of this side: the kernel's on the host, RDRAND in an enclave.
#pragma once

#include <expected>

#include "crypto/error.hpp"
#include "wire/bytes.hpp"

namespace sgm::crypto {

// Fills `out`. Error: randomness, and `out` is not to be used.
[[nodiscard]] std::expected<void, Error> random_bytes(MutableBytes out);

}  // namespace sgm::crypto
