// SPDX-License-Identifier: MIT
// Byte spans, and the only two ways in which this project turns bytes into values and back.
//
// Everything on a wire is little-endian and laid out as its struct in wire/ says. All supported
// machines (x86-64) are little-endian too, so a wire struct is copied, never cast in place: a
// cast would read memory that the other side can still change.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace sgm {

static_assert(std::endian::native == std::endian::little);

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

// A struct that may be copied from and to the wire: no padding that carries stale memory, no
// pointers, any byte string of its size is a value.
template <typename T>
concept WireStruct = std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>;

template <WireStruct T>
[[nodiscard]] Bytes bytes_of(const T& value) {
    return {reinterpret_cast<const std::uint8_t*>(&value), sizeof(T)};
}

template <WireStruct T>
[[nodiscard]] MutableBytes mutable_bytes_of(T& value) {
    return {reinterpret_cast<std::uint8_t*>(&value), sizeof(T)};
}

// Takes values from the front of a byte string. Total: every call either succeeds or returns
// nullopt and leaves the reader where it was. The caller says who controls the bytes.
class Reader final {
  public:
    explicit Reader(Bytes bytes) : rest_{bytes} {}

    template <WireStruct T>
    [[nodiscard]] std::optional<T> take() {
        if (rest_.size() < sizeof(T)) return std::nullopt;
        T value;
        std::memcpy(&value, rest_.data(), sizeof(T));
        rest_ = rest_.subspan(sizeof(T));
        return value;
    }

    [[nodiscard]] std::optional<Bytes> take_bytes(std::uint64_t size) {
        if (size > rest_.size()) return std::nullopt;
        const Bytes taken = rest_.first(static_cast<std::size_t>(size));
        rest_ = rest_.subspan(static_cast<std::size_t>(size));
        return taken;
    }

    [[nodiscard]] Bytes rest() const { return rest_; }
    [[nodiscard]] bool empty() const { return rest_.empty(); }

  private:
    Bytes rest_;
};

// Appends values to a caller's buffer. When something does not fit, nothing of it is written,
// and every later call fails too, so one check of ok() at the end is enough.
class Writer final {
  public:
    explicit Writer(MutableBytes buffer) : buffer_{buffer} {}

    template <WireStruct T>
    bool put(const T& value) {
        return put_bytes(bytes_of(value));
    }

    bool put_bytes(Bytes bytes) {
        MutableBytes room = reserve(bytes.size());
        if (!ok_) return false;
        if (!bytes.empty()) std::memcpy(room.data(), bytes.data(), bytes.size());
        return true;
    }

    // Room for `size` bytes that the caller fills; empty when it does not fit.
    [[nodiscard]] MutableBytes reserve(std::size_t size) {
        if (!ok_ || size > buffer_.size() - size_) {
            ok_ = false;
            return {};
        }
        MutableBytes room = buffer_.subspan(size_, size);
        size_ += size;
        return room;
    }

    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t room() const { return buffer_.size() - size_; }
    [[nodiscard]] Bytes written() const { return buffer_.first(size_); }

  private:
    MutableBytes buffer_;
    std::size_t size_ = 0;
    bool ok_ = true;
};

// Rounds up to the alignment of records inside a batch. `size` is at most 2^63.
[[nodiscard]] constexpr std::uint64_t align8(std::uint64_t size) {
    return (size + 7) & ~std::uint64_t{7};
}

}  // namespace sgm
