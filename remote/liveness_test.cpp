// SPDX-License-Identifier: MIT
#include "remote/liveness.hpp"

#include <gtest/gtest.h>

namespace sgm::remote {
namespace {

using namespace std::chrono_literals;

constexpr auto T = 1000ms;

// Some moment on the monotonic clock, and those after it.
Instant at(std::chrono::milliseconds since) {
    return Instant{100s} + since;
}

class LivenessTest : public testing::Test {
  protected:
    // The transition that a check makes, or never_seen for none.
    Life check(std::chrono::milliseconds since) {
        const auto transition = liveness_.check(at(since));
        return transition ? transition->to : Life::never_seen;
    }

    Liveness liveness_{T};
};

TEST_F(LivenessTest, nothing_is_suspected_of_what_was_never_seen) {
    EXPECT_FALSE(liveness_.check(at(1h)));
    EXPECT_EQ(liveness_.life(), Life::never_seen);
}

TEST_F(LivenessTest, what_was_heard_has_three_intervals_to_prove_its_life) {
    liveness_.heard(at(0ms));
    liveness_.heard(at(1900ms));
    EXPECT_EQ(check(1999ms), Life::never_seen);
    EXPECT_EQ(check(2000ms), Life::suspect);
    liveness_.heard(at(2500ms));
    EXPECT_EQ(check(3000ms), Life::dead);
    EXPECT_TRUE(liveness_.sign_of_life(at(3100ms), at(3100ms)));
    EXPECT_EQ(liveness_.life(), Life::alive);
}

TEST_F(LivenessTest, a_proof_in_time_is_the_first_life_of_what_was_heard) {
    liveness_.heard(at(0ms));
    const auto first = liveness_.sign_of_life(at(500ms), at(500ms));
    ASSERT_TRUE(first);
    EXPECT_EQ(first->from, Life::never_seen);
    EXPECT_EQ(check(2499ms), Life::never_seen);
    EXPECT_EQ(check(2500ms), Life::suspect);
}

TEST_F(LivenessTest, suspect_at_two_intervals_and_dead_at_three_each_told_once) {
    const auto first = liveness_.sign_of_life(at(0ms), at(0ms));
    ASSERT_TRUE(first);
    EXPECT_EQ(first->from, Life::never_seen);
    EXPECT_EQ(first->to, Life::alive);
    EXPECT_EQ(check(1999ms), Life::never_seen);
    EXPECT_EQ(check(2000ms), Life::suspect);
    EXPECT_EQ(check(2001ms), Life::never_seen);
    EXPECT_EQ(check(2999ms), Life::never_seen);
    EXPECT_EQ(check(3000ms), Life::dead);
    EXPECT_EQ(check(3001ms), Life::never_seen);
    EXPECT_EQ(check(1h), Life::never_seen);
    EXPECT_EQ(liveness_.life(), Life::dead);
}

TEST_F(LivenessTest, beats_in_time_keep_it_alive_silently) {
    (void)liveness_.sign_of_life(at(0ms), at(0ms));
    for (int i = 1; i < 50; ++i) {
        EXPECT_FALSE(liveness_.sign_of_life(at(i * T), at(i * T)));
        EXPECT_FALSE(liveness_.check(at(i * T + 1500ms)));
    }
}

TEST_F(LivenessTest, recovery_is_told_with_the_length_of_the_silence) {
    (void)liveness_.sign_of_life(at(0ms), at(0ms));
    (void)liveness_.check(at(2500ms));
    auto recovered = liveness_.sign_of_life(at(2700ms), at(2700ms));
    ASSERT_TRUE(recovered);
    EXPECT_EQ(recovered->from, Life::suspect);
    EXPECT_EQ(recovered->silence, 2700ms);
    (void)liveness_.check(at(10s));
    recovered = liveness_.sign_of_life(at(20s), at(20s));
    ASSERT_TRUE(recovered);
    EXPECT_EQ(recovered->from, Life::dead);
    EXPECT_EQ(recovered->to, Life::alive);
}

TEST_F(LivenessTest, one_late_check_goes_straight_to_dead) {
    (void)liveness_.sign_of_life(at(0ms), at(0ms));
    EXPECT_EQ(check(5s), Life::dead);
}

TEST_F(LivenessTest, an_old_proof_neither_revives_nor_moves_time_back) {
    (void)liveness_.sign_of_life(at(0ms), at(0ms));
    (void)liveness_.check(at(3000ms));
    EXPECT_FALSE(liveness_.sign_of_life(at(1000ms), at(3100ms)));
    EXPECT_EQ(liveness_.life(), Life::dead);
    EXPECT_TRUE(liveness_.sign_of_life(at(3100ms), at(3200ms)));
    EXPECT_FALSE(liveness_.sign_of_life(at(2000ms), at(3300ms)));
    EXPECT_EQ(check(5100ms), Life::suspect) << "counted from the newest proof";
}

TEST_F(LivenessTest, after_a_restart_the_silence_counts_from_then_and_the_dead_stay_dead) {
    liveness_.resume(Life::alive, at(0ms));
    EXPECT_EQ(check(1999ms), Life::never_seen);
    EXPECT_EQ(check(3000ms), Life::dead);
    Liveness other{T};
    other.resume(Life::dead, at(0ms));
    EXPECT_FALSE(other.check(at(1h)));
    EXPECT_TRUE(other.sign_of_life(at(1h), at(1h)));
}

}  // namespace
}  // namespace sgm::remote
