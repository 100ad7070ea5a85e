// SPDX-License-Identifier: MIT
#include "host/lives.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <deque>

namespace sgm::host {
namespace {

using sgx::EnclaveLoss;
using wire::EnclaveResult;

const Life kLost{.end = std::unexpected(EnclaveLoss{.cause = EnclaveLoss::Cause::memory_lost}),
                 .did_something = true};
const Life kStopped{.end = EnclaveResult::stopped, .did_something = true};

class Lives : public testing::Test {
  protected:
    config::Result<EnclaveResult> run(std::deque<config::Result<Life>> lives) {
        lives_ = std::move(lives);
        return live_until_the_end(
            [this] {
                const auto life = lives_.front();
                lives_.pop_front();
                return life;
            },
            [this](std::string_view line) { log_.emplace_back(line); });
    }
    std::deque<config::Result<Life>> lives_;
    std::vector<std::string> log_;
};

TEST_F(Lives, an_enclave_whose_memory_was_lost_is_loaded_anew_and_that_is_logged) {
    EXPECT_EQ(run({kLost, kLost, kStopped}).value(), EnclaveResult::stopped);
    ASSERT_EQ(log_.size(), 2u);
    EXPECT_NE(log_[0].find("lost the enclave's memory"), std::string::npos);
}

TEST_F(Lives, one_that_is_lost_before_it_did_anything_is_given_up) {
    Life at_once = kLost;
    at_once.did_something = false;
    const auto result = run({kLost, at_once, kStopped});
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().sentence.find("given up"), std::string::npos);
    EXPECT_EQ(lives_.size(), 1u);
}

TEST_F(Lives, one_whose_heap_was_full_is_loaded_anew_unless_it_never_did_anything) {
    Life full{.end = EnclaveResult::out_of_memory, .did_something = true};
    EXPECT_EQ(run({full, full, kStopped}).value(), EnclaveResult::stopped);
    EXPECT_EQ(log_.size(), 2u);
    full.did_something = false;
    const auto result = run({full, kStopped});
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().sentence.find("heap_mib"), std::string::npos);
}

TEST_F(Lives, every_other_end_is_the_end) {
    const Life fault{
        .end = std::unexpected(EnclaveLoss{.cause = EnclaveLoss::Cause::fault, .signal = SIGSEGV}),
        .did_something = true};
    EXPECT_FALSE(run({fault, kStopped}));
    EXPECT_EQ(lives_.size(), 1u);
    const auto refused = run({std::unexpected(config::Error{"no such file"}), kStopped});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sentence, "no such file");
}

}  // namespace
}  // namespace sgm::host
