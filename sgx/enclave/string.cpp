// SPDX-License-Identifier: MIT
// The C library's byte and string functions, as far as the compiler, libstdc++'s headers and the
// static libraries of an enclave call them. `rep movsb` and `rep stosb` are the fast way on every
// CPU with SGX (ERMS) for all but short sizes.
#include <cstddef>
#include <cstdint>

namespace {

using Word = std::uint64_t;

void copy_word(std::uint8_t* to, const std::uint8_t* from) {
    __builtin_memcpy(to, from, sizeof(Word));
}

// sizeof(T) <= size <= 2 * sizeof(T), ranges may overlap: all is read before anything is written.
template <typename T>
void copy_ends(std::uint8_t* to, const std::uint8_t* from, std::size_t size) {
    T first;
    T last;
    __builtin_memcpy(&first, from, sizeof first);
    __builtin_memcpy(&last, from + size - sizeof last, sizeof last);
    __builtin_memcpy(to, &first, sizeof first);
    __builtin_memcpy(to + size - sizeof last, &last, sizeof last);
}

struct TwoWords {
    Word words[2];
};

constexpr std::size_t kShort = 2 * sizeof(TwoWords);

// size <= kShort; ranges may overlap. What `rep movsb` is slow at.
void copy_short(std::uint8_t* to, const std::uint8_t* from, std::size_t size) {
    if (size >= sizeof(TwoWords)) {
        copy_ends<TwoWords>(to, from, size);
    } else if (size >= 8) {
        copy_ends<std::uint64_t>(to, from, size);
    } else if (size >= 4) {
        copy_ends<std::uint32_t>(to, from, size);
    } else if (size >= 2) {
        copy_ends<std::uint16_t>(to, from, size);
    } else if (size == 1) {
        *to = *from;
    }
}

}  // namespace

extern "C" {

void* memcpy(void* to, const void* from, std::size_t size) {
    auto* out = static_cast<std::uint8_t*>(to);
    const auto* in = static_cast<const std::uint8_t*>(from);
    if (size <= kShort) {
        copy_short(out, in, size);
        return to;
    }
    if (size <= 64) {
        // Whole words, and a last one that overlaps; the last is read before anything is written
        // over it only because the ranges do not overlap.
        for (std::size_t i = 0; i + sizeof(Word) <= size; i += sizeof(Word))
            copy_word(out + i, in + i);
        copy_word(out + size - sizeof(Word), in + size - sizeof(Word));
        return to;
    }
    __asm__ volatile("rep movsb" : "+D"(out), "+S"(in), "+c"(size) : : "memory");
    return to;
}

void* memmove(void* to, const void* from, std::size_t size) {
    auto* out = static_cast<std::uint8_t*>(to);
    const auto* in = static_cast<const std::uint8_t*>(from);
    if (size <= kShort) {
        copy_short(out, in, size);
        return to;
    }
    const auto distance =
        reinterpret_cast<std::uintptr_t>(out) - reinterpret_cast<std::uintptr_t>(in);
    if (distance >= size) {
        // Forwards is right: `to` is before `from`, or wholly behind it.
        __asm__ volatile("rep movsb" : "+D"(out), "+S"(in), "+c"(size) : : "memory");
        return to;
    }
    while (size >= sizeof(Word) && distance >= sizeof(Word)) {
        size -= sizeof(Word);
        copy_word(out + size, in + size);
    }
    while (size > 0) {
        --size;
        out[size] = in[size];
    }
    return to;
}

void* memset(void* to, int value, std::size_t size) {
    auto* out = static_cast<std::uint8_t*>(to);
    if (size < 16) {
        for (std::size_t i = 0; i < size; ++i)
            out[i] = static_cast<std::uint8_t>(value);
        return to;
    }
    __asm__ volatile("rep stosb" : "+D"(out), "+c"(size) : "a"(value) : "memory");
    return to;
}

int memcmp(const void* a, const void* b, std::size_t size) {
    const auto* left = static_cast<const std::uint8_t*>(a);
    const auto* right = static_cast<const std::uint8_t*>(b);
    std::size_t i = 0;
    for (; i + sizeof(Word) <= size; i += sizeof(Word)) {
        Word x = 0;
        Word y = 0;
        __builtin_memcpy(&x, left + i, sizeof x);
        __builtin_memcpy(&y, right + i, sizeof y);
        if (x != y) break;
    }
    for (; i < size; ++i)
        if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
    return 0;
}

int bcmp(const void* a, const void* b, std::size_t size) {
    return memcmp(a, b, size);
}

void* memchr(const void* bytes, int value, std::size_t size) {
    const auto* in = static_cast<const std::uint8_t*>(bytes);
    for (std::size_t i = 0; i < size; ++i)
        if (in[i] == static_cast<std::uint8_t>(value)) return const_cast<std::uint8_t*>(in + i);
    return nullptr;
}

std::size_t strlen(const char* string) {
    std::size_t size = 0;
    while (string[size] != 0)
        ++size;
    return size;
}

int strncmp(const char* a, const char* b, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
        const auto x = static_cast<std::uint8_t>(a[i]);
        const auto y = static_cast<std::uint8_t>(b[i]);
        if (x != y) return x < y ? -1 : 1;
        if (x == 0) return 0;
    }
    return 0;
}

int strcmp(const char* a, const char* b) {
    return strncmp(a, b, ~std::size_t{0});
}

void __explicit_bzero_chk(void* bytes, std::size_t size, std::size_t) {
    memset(bytes, 0, size);
    __asm__ volatile("" : : "r"(bytes) : "memory");
}

}  // extern "C"
