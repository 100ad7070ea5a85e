// SPDX-License-Identifier: MIT
// libsodium declares pointers nonnull that it does not touch when the size is zero; an empty span
// may hold a null pointer.
#pragma once

#include "wire/bytes.hpp"

namespace sgm::crypto {

[[nodiscard]] inline std::uint8_t* non_null(MutableBytes bytes) {
    static std::uint8_t nothing;  // never written: the size is zero
    return bytes.empty() ? &nothing : bytes.data();
}

[[nodiscard]] inline const std::uint8_t* non_null(Bytes bytes) {
    static constexpr std::uint8_t kNothing = 0;
    return bytes.empty() ? &kNothing : bytes.data();
}

}  // namespace sgm::crypto
