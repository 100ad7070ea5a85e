// SPDX-License-Identifier: MIT
#include "host/kept_blob.hpp"

#include <gtest/gtest.h>

#include "config/temporary_directory.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::host {
namespace {

constexpr wire::Uuid kDomain{1};
constexpr wire::Uuid kOther{2};

TEST(KeptBlob, the_newest_comes_back_for_its_own_vm_also_after_a_restart) {
    const config::TemporaryDirectory directory;
    const KeptBlob kept{directory / "state", kDomain};
    EXPECT_EQ(kept.recall().value(), std::nullopt);
    ASSERT_TRUE(kept.keep({1, 2, 3}).has_value());
    ASSERT_TRUE(kept.keep({4}).has_value());
    const KeptBlob after_a_restart{directory / "state", kDomain};
    EXPECT_EQ(after_a_restart.recall().value(), Message{4});
    const KeptBlob other{directory / "state", kOther};
    EXPECT_EQ(other.recall().value(), std::nullopt);
}

TEST(KeptBlob, what_cannot_be_kept_is_an_error_and_leaves_the_one_before) {
    const config::TemporaryDirectory directory;
    const KeptBlob kept{directory / "state", kDomain};
    ASSERT_TRUE(kept.keep({1}).has_value());
    EXPECT_FALSE(kept.keep(Message(wire::kMaxKeptBlob + 1)).has_value());
    EXPECT_EQ(kept.recall().value(), Message{1});
    directory.write("file", "");
    EXPECT_FALSE(KeptBlob(directory / "file", kDomain).keep({1}).has_value());
}

}  // namespace
}  // namespace sgm::host
