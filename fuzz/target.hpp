// SPDX-License-Identifier: MIT
// What a fuzz target is: a function that takes any bytes, and the seeds to begin with. Two drivers
// run it: libfuzzer.cpp searches (./dev fuzz), replay.cpp runs seeds and old crashers once (ctest).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"

namespace sgm::fuzz {

using Octets = std::vector<std::uint8_t>;

// --- each target defines these

// One input. Ends the process when something is broken that is promised for every input.
void run(Bytes input);
// Inputs that get far; made by code, so that they follow the formats when those change.
[[nodiscard]] std::vector<Octets> seeds();

// --- and uses these

inline void check(bool holds, const char* promise) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
}

// Takes an input apart; zeros when it has ended, so that every input says something.
class Choices final {
  public:
    explicit Choices(Bytes input) : reader_{input} {}

    template <WireStruct T>
    [[nodiscard]] T take() {
        if (const auto value = reader_.take<T>()) return *value;
        T value{};
        const Bytes rest = reader_.take_bytes(reader_.rest().size()).value_or(Bytes{});
        if (!rest.empty()) std::memcpy(&value, rest.data(), rest.size());
        return value;
    }
    [[nodiscard]] std::uint8_t byte() { return take<std::uint8_t>(); }
    // 0 .. bound - 1, from two bytes; bound is at least 1.
    [[nodiscard]] std::uint32_t below(std::uint32_t bound) { return take<std::uint16_t>() % bound; }
    // At most `most` bytes, as many as are left.
    [[nodiscard]] Bytes bytes(std::size_t most) {
        return *reader_.take_bytes(std::min(most, reader_.rest().size()));
    }
    [[nodiscard]] Bytes rest() { return bytes(reader_.rest().size()); }
    [[nodiscard]] bool empty() const { return reader_.empty(); }

  private:
    Reader reader_;
};

// The opposite, for seeds.
class Recorder final {
  public:
    template <WireStruct T>
    Recorder& put(const T& value) {
        return put_bytes(bytes_of(value));
    }
    Recorder& put_bytes(Bytes bytes) {
        octets_.insert(octets_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    [[nodiscard]] const Octets& octets() const { return octets_; }

  private:
    Octets octets_;
};

inline Octets octets_of(std::string_view text) {
    return {text.begin(), text.end()};
}
inline std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace sgm::fuzz
