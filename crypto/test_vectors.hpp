// SPDX-License-Identifier: MIT
// For tests only: hex, and the JSON files in $SGM_TEST_VECTORS.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sgm::test {

using Octets = std::vector<std::uint8_t>;

inline Octets from_hex(std::string_view hex) {
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        throw std::invalid_argument("not a lower-case hex digit");
    };
    if (hex.size() % 2 != 0) throw std::invalid_argument("odd number of hex digits");
    Octets bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        bytes.push_back(static_cast<std::uint8_t>(digit(hex[i]) * 16 + digit(hex[i + 1])));
    }
    return bytes;
}

template <std::size_t N>
std::array<std::uint8_t, N> array_from_hex(std::string_view hex) {
    const Octets bytes = from_hex(hex);
    if (bytes.size() != N) throw std::invalid_argument("wrong number of hex digits");
    std::array<std::uint8_t, N> result;
    std::ranges::copy(bytes, result.begin());
    return result;
}

inline std::optional<std::filesystem::path> vectors_directory() {
    const char* directory = std::getenv("SGM_TEST_VECTORS");
    if (directory == nullptr || *directory == '\0') return std::nullopt;
    return directory;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
    std::ifstream file{path};
    if (!file) throw std::runtime_error("cannot read " + path.string());
    return nlohmann::json::parse(file);
}

}  // namespace sgm::test
