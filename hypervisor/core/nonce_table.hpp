// SPDX-License-Identifier: MIT
// The registration nonces that this hypervisor has issued: each is good once, and its age is the
// age of whatever repeats it. Anyone may ask for nonces; the oldest is forgotten for a new one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "wire/ids.hpp"

namespace sgm::hypervisor {

// Two for each domain: when a host with many VMs starts, all of their IDSs register at once.
inline constexpr std::size_t kMaxNonces = 2048;

class NonceTable final {
  public:
    void add(const wire::Nonce& nonce, std::uint64_t now_ns) {
        entries_[next_] = {.nonce = nonce, .issued_ns = now_ns, .usable = true};
        next_ = (next_ + 1) % kMaxNonces;
    }

    // When a nonce that is still usable was issued.
    [[nodiscard]] std::optional<std::uint64_t> issued(const wire::Nonce& nonce) const {
        for (const Entry& entry : entries_) {
            if (entry.usable && entry.nonce == nonce) return entry.issued_ns;
        }
        return std::nullopt;
    }

    void use(const wire::Nonce& nonce) {
        for (Entry& entry : entries_) {
            if (entry.nonce == nonce) entry.usable = false;
        }
    }

  private:
    struct Entry {
        wire::Nonce nonce;
        std::uint64_t issued_ns;
        bool usable;
    };
    std::array<Entry, kMaxNonces> entries_{};
    std::size_t next_ = 0;
};

}  // namespace sgm::hypervisor
