// SPDX-License-Identifier: MIT
#include "bench/report.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace sgm::bench {
namespace {

// The probability that the median of a distribution lies between the `rank`-th smallest and the
// `rank`-th largest of `count` samples: each lies below it with probability 1/2.
double confidence(std::size_t count, std::size_t rank) {
    double outside = 0;
    double ways = std::pow(0.5, static_cast<double>(count));
    for (std::size_t below = 0; below < rank; ++below) {
        outside += 2 * ways;
        ways *= static_cast<double>(count - below) / static_cast<double>(below + 1);
    }
    return 1 - outside;
}

TEST(Summary, median_lies_between_low_and_high_with_95_percent_for_any_number_of_samples) {
    for (std::size_t count = 6; count <= 1000; ++count) {
        Samples samples(count);
        std::iota(samples.begin(), samples.end(), 1.0);
        const Summary summary = summarise(samples);
        const auto rank = static_cast<std::size_t>(summary.low);
        EXPECT_EQ(summary.high, static_cast<double>(count + 1 - rank));
        EXPECT_GE(confidence(count, rank), 0.95) << count;
        // No wider than it must be, but for a rank.
        EXPECT_LT(confidence(count, rank + 2), 0.95) << count;
    }
}

TEST(Summary, of_fewer_than_six_samples_vouches_for_no_more_than_their_range) {
    const Summary summary = summarise({3, 1, 2});
    EXPECT_EQ(summary.low, 1);
    EXPECT_EQ(summary.median, 2);
    EXPECT_EQ(summary.high, 3);
}

}  // namespace
}  // namespace sgm::bench
