// SPDX-License-Identifier: MIT
// The enclave's heap: first fit over a free list, boundary tags, neighbours joined at once. For one
// thread at a time. Nothing here trusts what the memory held before: the host chose that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "wire/bytes.hpp"

namespace sgm::enclave {

class Heap final {
  public:
    static constexpr std::size_t kAlignment = 16;

    constexpr Heap() = default;
    // `memory` is whole 16-byte units at a 16-byte boundary, at least 64 bytes; it belongs to the
    // heap from now on.
    void adopt(MutableBytes memory);

    // `size` bytes more right behind what there is: whole 16-byte units, at least 64 bytes.
    void extend(std::size_t size);

    // 16-byte aligned; nullptr when there is no room. Size 0 is allowed.
    [[nodiscard]] void* allocate(std::size_t size);
    // `alignment`: a power of two.
    [[nodiscard]] void* allocate_aligned(std::size_t size, std::size_t alignment);
    // What does not look like a block of this heap in use is refused: false, and nothing changes.
    [[nodiscard]] bool release(void* pointer);
    // Bytes usable at `pointer`, which is a block in use.
    [[nodiscard]] static std::size_t usable_size(const void* pointer);

    [[nodiscard]] std::size_t in_use() const { return in_use_; }

  private:
    struct Block;

    [[nodiscard]] Block* end() const;
    void close(Block* last);
    void insert(Block* block);
    void remove(Block* block);
    void split(Block* block, std::size_t size);

    MutableBytes memory_{};
    Block* free_ = nullptr;
    std::size_t in_use_ = 0;  // bytes, headers included
};

}  // namespace sgm::enclave
