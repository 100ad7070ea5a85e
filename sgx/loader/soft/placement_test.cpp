// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/placement.hpp"

#include <gtest/gtest.h>

#include <latch>
#include <thread>

namespace sgm::sgx::soft {
namespace {

using namespace std::chrono_literals;

// Crossings on one CPU, so far apart; how often the sides were asked to part.
unsigned partings(Placement& placement, Placement::Clock::time_point& time, unsigned crossings,
                  std::chrono::nanoseconds apart) {
    unsigned count = 0;
    for (unsigned i = 0; i < crossings; ++i) {
        time += apart;
        if (placement.wants_to_part(Whereabouts::together, [&] { return time; })) ++count;
    }
    return count;
}

TEST(Placement, PartsTwoThreadsThatCrossBusilyOnOneCpu) {
    Placement placement;
    Placement::Clock::time_point time{1h};
    EXPECT_EQ(partings(placement, time, 16, 5us), 1U);
}

TEST(Placement, LeavesTogetherWhatCrossesNowAndThen) {
    Placement placement;
    Placement::Clock::time_point time{1h};
    EXPECT_EQ(partings(placement, time, 10'000, 1ms), 0U);
}

TEST(Placement, LeavesApartWhatIsApart) {
    Placement placement;
    for (unsigned i = 0; i < 10'000; ++i)
        EXPECT_FALSE(placement.wants_to_part(Whereabouts::apart, Placement::Clock::now));
}

TEST(Placement, TriesMoreAndMoreRarelyWhatDoesNotLast) {
    Placement placement;
    Placement::Clock::time_point time{1h};
    const unsigned first_second = partings(placement, time, 200'000, 5us);
    EXPECT_LE(first_second, 11U);
    EXPECT_GE(first_second, 2U);
    partings(placement, time, 200'000, 5us);
    EXPECT_LE(partings(placement, time, 2'000'000, 5us), 11U) << "in ten seconds";
}

TEST(Placement, BeginsAnewAfterTheSidesWereApartForLong) {
    Placement placement;
    Placement::Clock::time_point time{1h};
    partings(placement, time, 1'000'000, 5us);
    for (unsigned i = 0; i < 1000; ++i)
        static_cast<void>(placement.wants_to_part(Whereabouts::apart, [&] { return time; }));
    time += 2s;
    EXPECT_GE(partings(placement, time, 2000, 5us), 3U);
}

TEST(Placement, AThreadThatIsKeptAwayWakesElsewhereAndIsFreeAfterwards) {
    if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "there is one CPU";
    std::atomic<pid_t> id = 0;
    std::latch go{1};
    int woke_on = -1;
    std::thread sleeper{[&] {
        id = ::gettid();
        id.notify_one();
        go.wait();
        woke_on = ::sched_getcpu();
    }};
    id.wait(0);
    cpu_set_t before{};
    cpu_set_t after{};
    cpu_set_t mine{};
    ASSERT_EQ(::sched_getaffinity(id, sizeof before, &before), 0);
    // So that the caller's CPU is the same from one line to the next.
    ASSERT_EQ(::sched_getaffinity(0, sizeof mine, &mine), 0);
    const int here = ::sched_getcpu();
    cpu_set_t only_here{};
    CPU_SET(static_cast<std::size_t>(here), &only_here);
    ASSERT_EQ(::sched_setaffinity(0, sizeof only_here, &only_here), 0);
    {
        const KeptAway kept_away{id};
        EXPECT_TRUE(kept_away.moved());
        cpu_set_t meanwhile{};
        EXPECT_EQ(::sched_getaffinity(id, sizeof meanwhile, &meanwhile), 0);
        EXPECT_FALSE(CPU_ISSET(static_cast<std::size_t>(here), &meanwhile));
    }
    EXPECT_EQ(::sched_getaffinity(id, sizeof after, &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
    const KeptAway kept_away{id};
    go.count_down();
    sleeper.join();
    EXPECT_NE(woke_on, here);
    EXPECT_EQ(::sched_setaffinity(0, sizeof mine, &mine), 0);
}

TEST(Patience, DoesNotLookForAPartnerOnItsOwnCpu) {
    Patience patience;
    int looks = 0;
    EXPECT_FALSE(patience.spin(Whereabouts::together, [&] {
        ++looks;
        return false;
    }));
    EXPECT_EQ(looks, 1);
}

// Both sides sleep, and each wake-up takes longer than a side usually looks: one must outlast it.
TEST(Patience, NowAndThenOutlastsTheWakeUpOfAnIdleCpu) {
    Patience patience;
    constexpr int kLooksOfAWakeUp = 10'000;  // 150 us and more
    int sleeps = 0;
    for (;; ++sleeps) {
        ASSERT_LT(sleeps, 17);
        int looks = 0;
        if (patience.spin(Whereabouts::apart, [&] { return ++looks > kLooksOfAWakeUp; })) break;
    }
    EXPECT_GE(sleeps, 8) << "and not often";
}

TEST(Patience, LooksLongOnceTheyHaveParted) {
    Patience patience;
    const auto looks = [&](Whereabouts whereabouts) {
        int count = 0;
        EXPECT_FALSE(patience.spin(whereabouts, [&] {
            ++count;
            return false;
        }));
        return count;
    };
    const int usual = looks(Whereabouts::apart);
    looks(Whereabouts::together);
    EXPECT_GT(looks(Whereabouts::apart), 4 * usual);
    EXPECT_LE(looks(Whereabouts::apart), usual);
}

}  // namespace
}  // namespace sgm::sgx::soft
