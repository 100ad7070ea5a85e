// SPDX-License-Identifier: MIT
// Needs no library, so that every implementation of this room shares it.
#include "crypto/secret.hpp"

#include <cstring>

namespace sgm::crypto {

void wipe(MutableBytes bytes) {
    if (bytes.empty()) return;
    std::memset(bytes.data(), 0, bytes.size());
    // The compiler must believe that someone reads the zeros.
    __asm__ volatile("" : : "r"(bytes.data()) : "memory");
}

bool constant_time_equal(Bytes a, Bytes b) {
    if (a.size() != b.size()) return false;
    std::uint32_t difference = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference |= static_cast<std::uint32_t>(a[i] ^ b[i]);
        // Hides what is known so far, so that no early exit can be made of the loop.
        __asm__ volatile("" : "+r"(difference));
    }
    return difference == 0;
}

}  // namespace sgm::crypto
