// SPDX-License-Identifier: MIT
// Bytes that must not outlive their use: wiped when they go out of scope, never copied silently.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "wire/bytes.hpp"

namespace sgm::crypto {

// Overwrites memory in a way that the compiler may not drop.
void wipe(MutableBytes bytes);

// Compares in time that depends on the sizes only. Different sizes: false.
[[nodiscard]] bool constant_time_equal(Bytes a, Bytes b);

template <std::size_t N>
class Secret final {
  public:
    Secret() = default;
    ~Secret() { wipe(bytes_); }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    Secret(Secret&& other) noexcept : bytes_{other.bytes_} { wipe(other.bytes_); }
    Secret& operator=(Secret&& other) noexcept {
        if (this != &other) {
            bytes_ = other.bytes_;
            wipe(other.bytes_);
        }
        return *this;
    }

    [[nodiscard]] Bytes bytes() const { return bytes_; }
    [[nodiscard]] MutableBytes mutable_bytes() { return bytes_; }

  private:
    std::array<std::uint8_t, N> bytes_{};
};

}  // namespace sgm::crypto
