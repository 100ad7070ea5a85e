// SPDX-License-Identifier: MIT
// Numbers and guest text in sentences for people, without a locale or a format library.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace sgm::guest {

[[nodiscard]] inline std::string decimal(std::uint64_t value) {
    char digits[20];  // 2^64 - 1 has 20
    const auto end = std::to_chars(digits, digits + sizeof digits, value);
    return {digits, end.ptr};
}

[[nodiscard]] inline std::string hex(std::uint64_t value) {
    char digits[16];
    const auto end = std::to_chars(digits, digits + sizeof digits, value, 16);
    std::string text{"0x"};
    text.append(digits, end.ptr);
    return text;
}

// What the guest wrote, made harmless to print: at most `max` bytes, printable ASCII.
[[nodiscard]] inline std::string printable(std::string_view raw, std::size_t max) {
    std::string text;
    for (const char c : raw.substr(0, max))
        text += c >= ' ' && c <= '~' ? c : '?';
    return text;
}

}  // namespace sgm::guest
