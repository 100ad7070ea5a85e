// SPDX-License-Identifier: MIT
#include "sgx/enclave/heap.hpp"

#include <algorithm>
#include <bit>

namespace sgm::enclave {

// Every block: header, then at least 16 bytes, which hold the free list's links while it is free.
// The last block is a header alone, in use, of size 0.
struct Heap::Block {
    static constexpr std::uint64_t kUsed = 0x5347'4d48'0000'0001;  // "SGMH" in use
    static constexpr std::uint64_t kFree = 0x5347'4d48'0000'0000;

    std::uint32_t size_units;           // of the whole block, in 16 bytes
    std::uint32_t previous_size_units;  // of the block before it; 0 for the first
    std::uint64_t state;
    Block* next_free;
    Block* previous_free;

    [[nodiscard]] std::size_t size() const { return std::size_t{size_units} * kAlignment; }
    [[nodiscard]] bool used() const { return state == kUsed; }
    [[nodiscard]] std::uint8_t* start() { return reinterpret_cast<std::uint8_t*>(this); }
    [[nodiscard]] Block* next() { return reinterpret_cast<Block*>(start() + size()); }
    [[nodiscard]] Block* previous() {
        return reinterpret_cast<Block*>(start() - std::size_t{previous_size_units} * kAlignment);
    }
};

namespace {

constexpr std::size_t kHeader = 16;
constexpr std::size_t kMinBlock = 32;

// 0: too large for any heap.
std::size_t block_size(std::size_t size) {
    if (size > std::size_t{1} << 35) return 0;
    return std::max(kMinBlock, (size + kHeader + Heap::kAlignment - 1) & ~(Heap::kAlignment - 1));
}

}  // namespace

Heap::Block* Heap::end() const {
    return reinterpret_cast<Block*>(memory_.data() + memory_.size() - kHeader);
}

void Heap::adopt(MutableBytes memory) {
    memory_ = memory;
    free_ = nullptr;
    in_use_ = 0;
    auto* first = reinterpret_cast<Block*>(memory.data());
    first->size_units = static_cast<std::uint32_t>((memory.size() - kHeader) / kAlignment);
    first->previous_size_units = 0;
    close(first);
    insert(first);
}

// Puts the last block behind `last`, which reaches up to it.
void Heap::close(Block* last) {
    Block* closing = end();
    closing->size_units = 0;
    closing->previous_size_units = last->size_units;
    closing->state = Block::kUsed;
}

// What closed the heap becomes a block in use, and is given back.
void Heap::extend(std::size_t size) {
    Block* added = end();
    memory_ = {memory_.data(), memory_.size() + size};
    added->size_units = static_cast<std::uint32_t>(size / kAlignment);
    close(added);
    in_use_ += size;
    static_cast<void>(release(added->start() + kHeader));
}

void Heap::insert(Block* block) {
    block->state = Block::kFree;
    block->previous_free = nullptr;
    block->next_free = free_;
    if (free_ != nullptr) free_->previous_free = block;
    free_ = block;
}

void Heap::remove(Block* block) {
    if (block->previous_free != nullptr)
        block->previous_free->next_free = block->next_free;
    else
        free_ = block->next_free;
    if (block->next_free != nullptr) block->next_free->previous_free = block->previous_free;
}

// Cuts `block` (in nobody's list) to `size` and frees the rest, when that makes a block.
void Heap::split(Block* block, std::size_t size) {
    const std::size_t rest = block->size() - size;
    if (rest < kMinBlock) return;
    block->size_units = static_cast<std::uint32_t>(size / kAlignment);
    Block* tail = block->next();
    tail->size_units = static_cast<std::uint32_t>(rest / kAlignment);
    tail->previous_size_units = block->size_units;
    tail->next()->previous_size_units = tail->size_units;
    insert(tail);
}

void* Heap::allocate(std::size_t size) {
    return allocate_aligned(size, kAlignment);
}

void* Heap::allocate_aligned(std::size_t size, std::size_t alignment) {
    const std::size_t wanted = block_size(size);
    if (wanted == 0 || alignment > memory_.size()) return nullptr;
    alignment = std::max(alignment, kAlignment);
    for (Block* block = free_; block != nullptr; block = block->next_free) {
        if (block->size() < wanted) continue;
        const auto payload = reinterpret_cast<std::uintptr_t>(block->start()) + kHeader;
        std::size_t skip = (alignment - payload % alignment) % alignment;
        if (skip != 0 && skip < kMinBlock) skip += alignment;
        if (block->size() < wanted + skip) continue;
        remove(block);
        if (skip != 0) {
            split(block, skip);
            Block* aligned = block->next();
            remove(aligned);
            insert(block);
            block = aligned;
        }
        split(block, wanted);
        block->state = Block::kUsed;
        in_use_ += block->size();
        return block->start() + kHeader;
    }
    return nullptr;
}

bool Heap::release(void* pointer) {
    auto* payload = static_cast<std::uint8_t*>(pointer);
    if (payload < memory_.data() + kHeader || payload >= end()->start() ||
        reinterpret_cast<std::uintptr_t>(payload) % kAlignment != 0)
        return false;
    auto* block = reinterpret_cast<Block*>(payload - kHeader);
    if (!block->used() || block->size() < kMinBlock ||
        block->size() > static_cast<std::size_t>(end()->start() - block->start()) ||
        block->next()->previous_size_units != block->size_units)
        return false;
    in_use_ -= block->size();
    if (Block* next = block->next(); !next->used()) {
        remove(next);
        block->size_units += next->size_units;
    }
    if (block->previous_size_units != 0 && !block->previous()->used()) {
        Block* previous = block->previous();
        remove(previous);
        previous->size_units += block->size_units;
        // What was a header in use must not look like one again.
        block->state = Block::kFree;
        block = previous;
    }
    block->next()->previous_size_units = block->size_units;
    insert(block);
    return true;
}

std::size_t Heap::usable_size(const void* pointer) {
    const auto* block =
        reinterpret_cast<const Block*>(static_cast<const std::uint8_t*>(pointer) - kHeader);
    return block->size() - kHeader;
}

}  // namespace sgm::enclave
