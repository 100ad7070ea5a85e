// SPDX-License-Identifier: MIT
// The only way to untrusted memory. Everything here can change under the enclave at any time, so
// a value is read once, into the enclave, and only the copy is used.
#pragma once

#include <cstdint>
#include <optional>

#include "wire/bytes.hpp"

namespace sgm::enclave {

// Whether [address, address + size) lies wholly outside the enclave, without wrapping around.
[[nodiscard]] bool wholly_outside(std::uint64_t address, std::uint64_t size);

// Stands behind every check of a value that the host chose, before the value is used: no load runs
// ahead of the check with a value that it would refuse (Spectre v1; Intel, "Managed Runtime
// Speculative Execution Side Channel Mitigations", LFENCE as a speculation barrier).
inline void speculation_barrier() {
    __asm__ volatile("lfence" : : : "memory");
}

// A range of untrusted memory that has passed that test. Offsets and sizes are the caller's own
// (never the host's unchecked ones); one that does not fit ends the enclave.
class Outside final {
  public:
    // nullopt: not wholly outside the enclave, or not aligned. `alignment` is a power of two.
    [[nodiscard]] static std::optional<Outside> at(std::uint64_t address, std::uint64_t size,
                                                   std::uint64_t alignment = 1);

    [[nodiscard]] std::uint64_t address() const { return address_; }
    [[nodiscard]] std::uint64_t size() const { return size_; }

    void copy_in(std::uint64_t offset, MutableBytes to) const;
    void copy_out(std::uint64_t offset, Bytes from) const;

    template <WireStruct T>
    [[nodiscard]] T load(std::uint64_t offset) const {
        T value;
        copy_in(offset, mutable_bytes_of(value));
        return value;
    }
    template <WireStruct T>
    void store(std::uint64_t offset, const T& value) const {
        copy_out(offset, bytes_of(value));
    }

    // One 32-bit word that the other side also polls. Offset: a multiple of 4, and the range was
    // made with an alignment of at least 4.
    [[nodiscard]] std::uint32_t load_acquire(std::uint64_t offset) const;
    void store_release(std::uint64_t offset, std::uint32_t value) const;
    // Returns what was there. Full barrier.
    [[nodiscard]] std::uint32_t exchange(std::uint64_t offset, std::uint32_t value) const;

  private:
    Outside(std::uint64_t address, std::uint64_t size) : address_{address}, size_{size} {}
    [[nodiscard]] std::uint8_t* checked(std::uint64_t offset, std::uint64_t size) const;

    std::uint64_t address_;
    std::uint64_t size_;
};

}  // namespace sgm::enclave
