// SPDX-License-Identifier: MIT
// What must never be seen on the host: the guest's own bytes and the addresses asked for.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"

namespace sgm::relay {

class Leaks final {
  public:
    // At least 8 bytes, so that no ciphertext holds them by chance.
    void add(std::string_view mark) { marks_.emplace_back(mark.begin(), mark.end()); }
    void add_address(std::uint64_t address) {
        const Bytes bytes = bytes_of(address);
        marks_.emplace_back(bytes.begin(), bytes.end());
    }

    [[nodiscard]] bool are_in(Bytes message) const {
        return std::ranges::any_of(marks_, [message](const auto& mark) {
            return ::memmem(message.data(), message.size(), mark.data(), mark.size()) != nullptr;
        });
    }

  private:
    std::vector<std::vector<std::uint8_t>> marks_;
};

}  // namespace sgm::relay
