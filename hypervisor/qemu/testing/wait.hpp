// SPDX-License-Identifier: MIT
// How tests wait for what another thread or process does.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string_view>
#include <thread>

namespace sgm::qemu::testing {

// Far longer than anything waited for takes, on any machine: a wait that is over fails its test
// with a sentence, where one without end would be killed with the whole program.
inline constexpr std::chrono::seconds kLongestWait{60};

// Until it `is_so`; a failure once it `is_hopeless`, as when the process waited for has ended.
[[nodiscard]] inline ::testing::AssertionResult comes_true(
    std::string_view what, const std::function<bool()>& is_so,
    const std::function<bool()>& is_hopeless = [] { return false; }) {
    const auto until = std::chrono::steady_clock::now() + kLongestWait;
    while (!is_so()) {
        if (is_hopeless())
            return ::testing::AssertionFailure() << "waited for: " << what << "; QEMU has ended";
        if (std::chrono::steady_clock::now() > until)
            return ::testing::AssertionFailure() << "waited a minute in vain for: " << what;
        std::this_thread::yield();
    }
    return ::testing::AssertionSuccess();
}

}  // namespace sgm::qemu::testing
