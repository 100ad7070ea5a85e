// SPDX-License-Identifier: MIT
// Header-only, so that rooms which link nothing of this one may use it too.
#pragma once

#include <unistd.h>

#include <utility>

namespace sgm::config {

// Owns a file descriptor.
class Descriptor final {
  public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_{fd} {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(Descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

}  // namespace sgm::config
