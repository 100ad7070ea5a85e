// SPDX-License-Identifier: MIT
#include "sgx/enclave/heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace sgm::enclave {
namespace {

class HeapTest : public testing::Test {
  protected:
    static constexpr std::size_t kSize = 64 * 1024;

    // The host chose what the heap's memory holds at the start.
    HeapTest() {
        std::fill_n(memory_, kSize, std::uint8_t{0xa5});
        heap_.adopt(memory_);
    }

    alignas(4096) std::uint8_t memory_[kSize];
    Heap heap_;
};

TEST_F(HeapTest, random_use_never_hands_out_the_same_byte_twice) {
    struct Piece {
        std::uint8_t* at;
        std::size_t size;
        std::uint8_t mark;
    };
    std::mt19937 random{2026};
    std::vector<Piece> pieces;
    for (int step = 0; step < 20'000; ++step) {
        if (random() % 3 != 0 || pieces.empty()) {
            const std::size_t size = random() % (random() % 8 == 0 ? 6000 : 200);
            const std::size_t alignment = std::size_t{1} << (random() % 9);
            auto* at = static_cast<std::uint8_t*>(heap_.allocate_aligned(size, alignment));
            if (at == nullptr) continue;
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(at) % std::max<std::size_t>(16, alignment),
                      0u);
            ASSERT_GE(at, memory_);
            ASSERT_LE(at + size, memory_ + kSize);
            ASSERT_GE(Heap::usable_size(at), size);
            const auto mark = static_cast<std::uint8_t>(random());
            std::fill_n(at, size, mark);
            pieces.push_back({at, size, mark});
        } else {
            const std::size_t which = random() % pieces.size();
            const Piece piece = pieces[which];
            ASSERT_TRUE(std::all_of(piece.at, piece.at + piece.size,
                                    [&](std::uint8_t byte) { return byte == piece.mark; }));
            ASSERT_TRUE(heap_.release(piece.at));
            pieces[which] = pieces.back();
            pieces.pop_back();
        }
    }
    for (const Piece& piece : pieces)
        ASSERT_TRUE(heap_.release(piece.at));
    EXPECT_EQ(heap_.in_use(), 0u);
    // Everything has grown together again: one block of nearly the whole heap fits.
    EXPECT_NE(heap_.allocate(kSize - 64), nullptr);
}

TEST_F(HeapTest, a_full_heap_says_so_and_recovers) {
    std::vector<void*> blocks;
    while (void* block = heap_.allocate(1000))
        blocks.push_back(block);
    EXPECT_GT(blocks.size(), 60u);
    EXPECT_EQ(heap_.allocate(1000), nullptr);
    EXPECT_TRUE(heap_.release(blocks[30]));
    EXPECT_NE(heap_.allocate(1000), nullptr);
}

TEST_F(HeapTest, impossible_sizes_get_nothing) {
    EXPECT_EQ(heap_.allocate(~std::size_t{0}), nullptr);
    EXPECT_EQ(heap_.allocate(~std::size_t{0} - 15), nullptr);
    EXPECT_EQ(heap_.allocate(kSize), nullptr);
    EXPECT_EQ(heap_.allocate_aligned(16, std::size_t{1} << 62), nullptr);
}

TEST_F(HeapTest, freeing_twice_or_what_was_never_allocated_is_refused) {
    void* block = heap_.allocate(100);
    void* fence = heap_.allocate(100);
    EXPECT_TRUE(heap_.release(block));
    EXPECT_FALSE(heap_.release(block));
    int elsewhere = 0;
    EXPECT_FALSE(heap_.release(&elsewhere));
    EXPECT_FALSE(heap_.release(static_cast<std::uint8_t*>(fence) + 16));
    EXPECT_FALSE(heap_.release(static_cast<std::uint8_t*>(fence) + 1));
    EXPECT_FALSE(heap_.release(memory_));
    EXPECT_TRUE(heap_.release(fence));
}

TEST(GrowingHeap, grows_at_its_end_and_joins_what_was_free_there) {
    constexpr std::size_t kPart = 4096;
    alignas(16) static std::uint8_t memory[3 * kPart];
    Heap heap;
    heap.adopt({memory, kPart});
    void* first = heap.allocate(1000);
    EXPECT_EQ(heap.allocate(kPart), nullptr);
    heap.extend(kPart);
    auto* large = static_cast<std::uint8_t*>(heap.allocate(kPart));
    ASSERT_NE(large, nullptr) << "the free end of the first part and the second one are one block";
    std::fill_n(large, kPart, std::uint8_t{7});
    heap.extend(kPart);
    void* second = heap.allocate(kPart - 200);
    ASSERT_NE(second, nullptr);
    EXPECT_TRUE(std::all_of(large, large + kPart, [](std::uint8_t byte) { return byte == 7; }));
    for (void* block : {first, static_cast<void*>(large), second})
        EXPECT_TRUE(heap.release(block));
    EXPECT_EQ(heap.in_use(), 0u);
    EXPECT_NE(heap.allocate(3 * kPart - 64), nullptr);
}

TEST(GrowingHeap, that_is_full_to_the_end_grows_all_the_same) {
    constexpr std::size_t kPart = 4096;
    alignas(16) static std::uint8_t memory[2 * kPart];
    Heap heap;
    heap.adopt({memory, kPart});
    while (heap.allocate(16) != nullptr) {
    }
    heap.extend(kPart);
    EXPECT_NE(heap.allocate(kPart - 64), nullptr);
}

}  // namespace
}  // namespace sgm::enclave
