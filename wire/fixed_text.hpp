// SPDX-License-Identifier: MIT
// Text in fixed-size, zero-padded wire fields.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace sgm::wire {

// Cuts what does not fit; the last byte stays zero.
template <std::size_t N>
void set_text(std::array<char, N>& field, std::string_view text) {
    field.fill('\0');
    std::copy_n(text.begin(), std::min(text.size(), N - 1), field.begin());
}

// Up to the first zero byte. Whoever sent the field controls every byte of it.
template <std::size_t N>
[[nodiscard]] std::string_view get_text(const std::array<char, N>& field) {
    return {field.data(),
            static_cast<std::size_t>(std::find(field.begin(), field.end(), '\0') - field.begin())};
}

}  // namespace sgm::wire
