// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

namespace sgm::crypto {

enum class Error {
    bad_size,        // a key, nonce or tag of the wrong size, or an output that does not fit
    bad_point,       // X25519 with a low-order point: the shared secret would be all zero
    authentication,  // tag or signature does not verify
    randomness,      // the random source failed
};

[[nodiscard]] constexpr std::string_view text(Error error) {
    switch (error) {
        case Error::bad_size: return "wrong size";
        case Error::bad_point: return "low-order public key";
        case Error::authentication: return "authentication failed";
        case Error::randomness: return "no randomness";
    }
    return "unknown";
}

}  // namespace sgm::crypto
