// SPDX-License-Identifier: MIT
// libsodium's own helpers, in the form that an enclave can have. Its utils.o needs mmap and mlock,
// its core.o executes CPUID, its randombytes.o makes system calls; with these names defined here
// (and asked for first: --undefined in CMakeLists.txt) the linker takes none of the three.
#include <cstddef>
#include <cstdint>

#include "crypto/random.hpp"
#include "crypto/secret.hpp"

using sgm::Bytes;
using sgm::MutableBytes;

extern "C" {

// Called for sizes that this room has already refused: not reachable, and so fatal.
[[noreturn]] void sodium_misuse() {
    __builtin_trap();
}

void sodium_memzero(void* memory, std::size_t size) {
    sgm::crypto::wipe({static_cast<std::uint8_t*>(memory), size});
}

int sodium_memcmp(const void* a, const void* b, std::size_t size) {
    const Bytes left{static_cast<const std::uint8_t*>(a), size};
    const Bytes right{static_cast<const std::uint8_t*>(b), size};
    return sgm::crypto::constant_time_equal(left, right) ? 0 : -1;
}

int sodium_is_zero(const unsigned char* bytes, std::size_t size) {
    unsigned all = 0;
    for (std::size_t i = 0; i < size; ++i)
        all |= bytes[i];
    return all == 0 ? 1 : 0;
}

// Only libsodium's *_keygen functions call it, and nothing here calls those.
void randombytes_buf(void* out, std::size_t size) {
    if (!sgm::crypto::random_bytes({static_cast<std::uint8_t*>(out), size})) __builtin_trap();
}

}  // extern "C"
