// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/fair_mutex.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "hypervisor/qemu/testing/wait.hpp"

namespace sgm::qemu {
namespace {

constexpr std::size_t kThreads = 16;

TEST(FairMutex, serves_in_the_order_of_asking) {
    FairMutex mutex;
    std::vector<std::size_t> served;
    std::vector<std::jthread> threads;
    mutex.lock();
    for (std::size_t i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] {
            const std::lock_guard turn{mutex};
            served.push_back(i);
        });
        ASSERT_TRUE(
            testing::comes_true("its turn is asked for", [&] { return mutex.waiting() == i + 1; }));
    }
    EXPECT_TRUE(served.empty());
    mutex.unlock();
    threads.clear();
    ASSERT_EQ(served.size(), kThreads);
    for (std::size_t i = 0; i < kThreads; ++i)
        EXPECT_EQ(served[i], i);
    EXPECT_EQ(mutex.waiting(), 0u);
}

TEST(FairMutex, who_asks_again_at_once_stands_behind_those_who_wait) {
    FairMutex mutex;
    bool served = false;
    mutex.lock();
    std::jthread other{[&] {
        const std::lock_guard turn{mutex};
        served = true;
    }};
    ASSERT_TRUE(testing::comes_true("the other waits", [&] { return mutex.waiting() == 1; }));
    mutex.unlock();
    mutex.lock();
    EXPECT_TRUE(served) << "the turn was the other's, which may not even have woken";
    mutex.unlock();
}

TEST(FairMutex, is_held_by_one_at_a_time) {
    FairMutex mutex;
    std::size_t count = 0;  // as the sanitizers and a lost increment would tell
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < kThreads; ++i) {
            threads.emplace_back([&] {
                for (int n = 0; n < 1000; ++n) {
                    const std::lock_guard turn{mutex};
                    ++count;
                }
            });
        }
    }
    EXPECT_EQ(count, kThreads * 1000);
}

}  // namespace
}  // namespace sgm::qemu
