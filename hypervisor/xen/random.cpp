// SPDX-License-Identifier: MIT
// Randomness in Xen: RDSEED and RDRAND, mixed, and with everything that they gave before. Called by
// one CPU at a time.
#include "crypto/random.hpp"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "crypto/hash.hpp"
#include "crypto/secret.hpp"

namespace sgm::crypto {
namespace {

// Intel, "Digital Random Number Generator Software Implementation Guide", 5.2.1 and 5.3.1: ten
// times for RDRAND; RDSEED may run dry for longer, and need not be had.
constexpr int kRdrandAttempts = 10;
constexpr int kRdseedAttempts = 64;

// Intel SDM volume 2A, CPUID.
bool has_rdrand() {
    std::uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_RDRND) != 0;
}
bool has_rdseed() {
    std::uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_RDSEED) != 0;
}

// A word that is all ones or zeros is what CPUs gave whose generator was broken (AMD family 15h to
// 17h after suspend): one in 2^63 good ones is refused with them.
bool is_plausible(std::uint64_t word) {
    return word != 0 && word != ~std::uint64_t{0};
}

bool rdrand(std::uint64_t& out) {
    for (int i = 0; i < kRdrandAttempts; ++i) {
        bool ok = false;
        __asm__ volatile("rdrand %0" : "=r"(out), "=@ccc"(ok));
        if (ok && is_plausible(out)) return true;
    }
    return false;
}

bool rdseed(std::uint64_t& out) {
    for (int i = 0; i < kRdseedAttempts; ++i) {
        bool ok = false;
        __asm__ volatile("rdseed %0" : "=r"(out), "=@ccc"(ok));
        if (ok && is_plausible(out)) return true;
        __builtin_ia32_pause();
    }
    return false;
}

// What stays from one call to the next; only its hash ever leaves.
wire::Digest pool{};

struct Fresh {
    std::array<std::uint64_t, 4> seed;
    std::array<std::uint64_t, 8> random;
};

// At least one of the two sources has to give all that is asked of it.
bool gather(Fresh& fresh) {
    fresh = {};
    bool seeded = has_rdseed();
    for (std::uint64_t& word : fresh.seed)
        seeded = seeded && rdseed(word);
    bool drawn = has_rdrand();
    for (std::uint64_t& word : fresh.random)
        drawn = drawn && rdrand(word);
    return seeded || drawn;
}

constexpr std::array<std::uint8_t, 1> kForOutput = {1};
constexpr std::array<std::uint8_t, 1> kForPool = {2};

}  // namespace

std::expected<void, Error> random_bytes(MutableBytes out) {
    while (!out.empty()) {
        Fresh fresh;
        if (!gather(fresh)) return std::unexpected{Error::randomness};
        wire::Digest block = sha256({kForOutput, pool, bytes_of(fresh)});
        pool = sha256({kForPool, pool, bytes_of(fresh)});
        wipe(mutable_bytes_of(fresh));
        const std::size_t size = std::min(out.size(), block.size());
        std::memcpy(out.data(), block.data(), size);
        wipe(block);
        out = out.subspan(size);
    }
    return {};
}

}  // namespace sgm::crypto
