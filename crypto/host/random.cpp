// SPDX-License-Identifier: MIT
#include "crypto/random.hpp"

#include <sodium.h>

#include "crypto/non_null.hpp"

namespace sgm::crypto {

std::expected<void, Error> random_bytes(MutableBytes out) {
    // Opens the kernel's random source and picks libsodium's fastest implementations for this
    // CPU; everything else in this room also works, more slowly, before it has run.
    static const bool ready = sodium_init() >= 0;
    if (!ready) return std::unexpected(Error::randomness);
    ::randombytes_buf(non_null(out), out.size());
    return {};
}

}  // namespace sgm::crypto
