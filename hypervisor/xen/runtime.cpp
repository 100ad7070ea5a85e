// SPDX-License-Identifier: MIT
// What the compiler and the C++ library ask for in a place that has neither heap nor exceptions.
// None of it is ever reached: the core allocates nothing, and crypto/keys.cpp only for messages in
// several parts, which the core does not have.
#include <cstddef>

void* operator new(std::size_t) {
    __builtin_trap();
}
void operator delete(void*) noexcept {
    __builtin_trap();
}
void operator delete(void*, std::size_t) noexcept {
    __builtin_trap();
}

namespace std {
[[noreturn]] void __throw_length_error(const char*) {
    __builtin_trap();
}
}  // namespace std

extern "C" [[noreturn]] void __cxa_pure_virtual() {
    __builtin_trap();
}
extern "C" [[noreturn]] void abort() {
    __builtin_trap();
}
