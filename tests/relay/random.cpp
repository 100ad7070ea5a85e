// SPDX-License-Identifier: MIT
#include "tests/relay/random.hpp"

#include <sodium.h>

#include <cstdint>
#include <cstring>

namespace sgm::relay {
namespace {

std::uint64_t state;

// SplitMix64: not for keeping secrets, which nothing here has to.
std::uint64_t next() {
    state += 0x9e37'79b9'7f4a'7c15;
    std::uint64_t value = state;
    value = (value ^ (value >> 30)) * 0xbf58'476d'1ce4'e5b9;
    value = (value ^ (value >> 27)) * 0x94d0'49bb'1331'11eb;
    return value ^ (value >> 31);
}

void fill(void* out, std::size_t size) {
    auto* bytes = static_cast<std::uint8_t*>(out);
    while (size != 0) {
        const std::uint64_t value = next();
        const std::size_t part = size < sizeof(value) ? size : sizeof(value);
        std::memcpy(bytes, &value, part);
        bytes += part;
        size -= part;
    }
}

}  // namespace

void make_randomness_repeatable() {
    static randombytes_implementation source{
        .implementation_name = [] { return "repeatable"; },
        .random = [] { return static_cast<std::uint32_t>(next()); },
        .stir = nullptr,
        .uniform = nullptr,
        .buf = fill,
        .close = nullptr};
    ::randombytes_set_implementation(&source);
}

void begin_randomness_anew() {
    state = 0;
}

}  // namespace sgm::relay
