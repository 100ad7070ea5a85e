// SPDX-License-Identifier: MIT
// The shared ring's memory (wire/ring.hpp), made and mapped here. Everybody who has its descriptor
// may change all of it at any time.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/descriptor.hpp"
#include "wire/bytes.hpp"
#include "wire/ring.hpp"

namespace sgm::host {

class Ring final {
  public:
    // The error is a sentence.
    [[nodiscard]] static std::expected<Ring, std::string> create();
    ~Ring();
    Ring(Ring&& other) noexcept
        : memory_{std::move(other.memory_)}, header_{std::exchange(other.header_, nullptr)} {}
    Ring& operator=(Ring&&) = delete;

    // A memfd: kRingSize bytes, sealed against shrinking and growing.
    [[nodiscard]] int descriptor() const { return memory_.get(); }

    [[nodiscard]] wire::RingHeader& header() { return *header_; }
    [[nodiscard]] std::atomic_ref<std::uint32_t> state() {
        return std::atomic_ref<std::uint32_t>{header_->state};
    }

    // The caller's side. False: longer than a call may be.
    [[nodiscard]] bool put_call(Bytes frame);
    // Leaves the ring idle. nullopt: there is no reply, or one longer than a reply may be.
    [[nodiscard]] std::optional<std::vector<std::uint8_t>> take_reply();

    // The hypervisor's side. nullopt: there is no call, or one longer than a call may be.
    [[nodiscard]] std::optional<Bytes> call();
    // At most kRingMaxReply bytes.
    void put_reply(Bytes frame);

  private:
    Ring(config::Descriptor memory, wire::RingHeader* header)
        : memory_{std::move(memory)}, header_{header} {}
    [[nodiscard]] std::uint8_t* at(std::uint32_t offset) {
        return reinterpret_cast<std::uint8_t*>(header_) + offset;
    }

    config::Descriptor memory_;
    wire::RingHeader* header_;  // kRingSize bytes
};

}  // namespace sgm::host
