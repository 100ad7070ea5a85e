// SPDX-License-Identifier: MIT
#include "config/text.hpp"

namespace sgm::config {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

// Where the hyphens of a UUID stand, counted in bytes that come before them.
constexpr bool hyphen_before(std::size_t byte) {
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

std::optional<std::uint8_t> digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<std::uint8_t>(c - 'A' + 10);
    return std::nullopt;
}

void append_hex(std::string& text, std::uint8_t byte) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
}

}  // namespace

std::string to_hex(Bytes bytes) {
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::uint8_t byte : bytes)
        append_hex(text, byte);
    return text;
}

bool parse_hex(std::string_view text, MutableBytes out) {
    if (text.size() % 2 != 0 || text.size() / 2 != out.size()) return false;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto high = digit(text[2 * i]);
        const auto low = digit(text[2 * i + 1]);
        if (!high || !low) return false;
        out[i] = static_cast<std::uint8_t>(*high << 4 | *low);
    }
    return true;
}

std::string uuid_text(const wire::Uuid& uuid) {
    std::string text;
    text.reserve(36);
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        if (hyphen_before(i)) text += '-';
        append_hex(text, uuid[i]);
    }
    return text;
}

std::optional<wire::Uuid> parse_uuid(std::string_view text) {
    std::string digits;
    if (text.size() != 36) return std::nullopt;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen != (text[i] == '-')) return std::nullopt;
        if (!hyphen) digits += text[i];
    }
    wire::Uuid uuid;
    if (!parse_hex(digits, uuid)) return std::nullopt;
    return uuid;
}

std::string toml_string(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            (quoted += '\\') += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            quoted += "\\u00";
            append_hex(quoted, static_cast<std::uint8_t>(c));
        } else {
            quoted += c;
        }
    }
    return quoted + '"';
}

}  // namespace sgm::config
