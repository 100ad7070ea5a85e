// SPDX-License-Identifier: MIT
#include "sgx/enclave/untrusted.hpp"

#include "sgx/enclave/internal.hpp"
#include "sgx/enclave/runtime.hpp"

namespace sgm::enclave {

bool wholly_outside(std::uint64_t address, std::uint64_t size) {
    const std::uint64_t end = address + size;
    if (address == 0 || size == 0 || end < address) return false;
    return end <= base() || address >= base() + layout().elrange_size;
}

std::optional<Outside> Outside::at(std::uint64_t address, std::uint64_t size,
                                   std::uint64_t alignment) {
    if (address % alignment != 0 || !wholly_outside(address, size)) return std::nullopt;
    speculation_barrier();
    return Outside{address, size};
}

std::uint8_t* Outside::checked(std::uint64_t offset, std::uint64_t size) const {
    if (size > size_ || offset > size_ - size) abort(wire::EnclaveResult::internal);
    // The one place where an address from outside becomes a pointer.
    return reinterpret_cast<std::uint8_t*>(address_ + offset);  // NOLINT(performance-no-int-to-ptr)
}

void Outside::copy_in(std::uint64_t offset, MutableBytes to) const {
    if (to.empty()) return;
    std::memcpy(to.data(), checked(offset, to.size()), to.size());
    // What was copied is never read again from where it came.
    __asm__ volatile("" : : : "memory");
}

void Outside::copy_out(std::uint64_t offset, Bytes from) const {
    if (from.empty()) return;
    std::memcpy(checked(offset, from.size()), from.data(), from.size());
    __asm__ volatile("" : : : "memory");
}

namespace {

std::uint32_t* word(std::uint8_t* address) {
    return reinterpret_cast<std::uint32_t*>(address);
}

}  // namespace

std::uint32_t Outside::load_acquire(std::uint64_t offset) const {
    return __atomic_load_n(word(checked(offset, sizeof(std::uint32_t))), __ATOMIC_ACQUIRE);
}

void Outside::store_release(std::uint64_t offset, std::uint32_t value) const {
    __atomic_store_n(word(checked(offset, sizeof value)), value, __ATOMIC_RELEASE);
}

std::uint32_t Outside::exchange(std::uint64_t offset, std::uint32_t value) const {
    return __atomic_exchange_n(word(checked(offset, sizeof value)), value, __ATOMIC_SEQ_CST);
}

}  // namespace sgm::enclave
