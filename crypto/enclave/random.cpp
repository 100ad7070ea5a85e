// SPDX-License-Identifier: MIT
// RDRAND: the only source of randomness that the host of an enclave cannot steer.
#include "crypto/random.hpp"

#include <algorithm>
#include <cstring>

namespace sgm::crypto {
namespace {

// Intel SDM volume 1, 7.3.17.1: ten failures in a row mean that the generator is broken, or that
// the host starves it.
constexpr int kRetries = 10;

[[nodiscard]] bool rdrand(std::uint64_t& value) {
    for (int i = 0; i < kRetries; ++i) {
        bool ok;
        __asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
        if (ok) return true;
    }
    return false;
}

}  // namespace

std::expected<void, Error> random_bytes(MutableBytes out) {
    while (!out.empty()) {
        std::uint64_t value = 0;
        if (!rdrand(value)) return std::unexpected(Error::randomness);
        const std::size_t size = std::min(out.size(), sizeof value);
        std::memcpy(out.data(), &value, size);
        out = out.subspan(size);
    }
    return {};
}

}  // namespace sgm::crypto
