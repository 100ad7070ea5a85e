// SPDX-License-Identifier: MIT
// Descriptors that close themselves, and the few socket calls that the relay needs.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "wire/bytes.hpp"

namespace sgm::hostile {

class Descriptor final {
  public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_{fd} {}
    Descriptor(Descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

// These throw std::runtime_error with a sentence: the relay cannot begin without them.
[[nodiscard]] Descriptor listen_unix(const std::string& path);
[[nodiscard]] Descriptor listen_tcp(std::uint16_t port);

// Empty when the other side is not there.
[[nodiscard]] Descriptor connect_unix(const std::string& path);
[[nodiscard]] Descriptor connect_tcp(std::uint16_t port);
[[nodiscard]] Descriptor accept_from(const Descriptor& listener);

[[nodiscard]] bool read_all(const Descriptor& from, MutableBytes bytes);
[[nodiscard]] bool write_all(const Descriptor& to, Bytes bytes);

// Whether the peer has closed, or sent something that no peer of ours sends here.
[[nodiscard]] bool gone(const Descriptor& connection);

[[nodiscard]] inline Bytes text_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace sgm::hostile
