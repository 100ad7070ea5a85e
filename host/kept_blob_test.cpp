// SPDX-License-Identifier: MIT
#include "host/kept_blob.hpp"

#include <gtest/gtest.h>

#include "config/temporary_directory.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::host {
namespace {

constexpr wire::Uuid kDomain{1};
constexpr wire::Uuid kOther{2};
constexpr wire::Digest kProgram{3};
constexpr wire::Digest kUpdate{4};

TEST(KeptBlob, the_newest_comes_back_for_its_own_vm_also_after_a_restart) {
    const config::TemporaryDirectory directory;
    const KeptBlob kept{directory / "state", kDomain, kProgram};
    EXPECT_EQ(kept.recall().value(), std::nullopt);
    ASSERT_TRUE(kept.keep({1, 2, 3}).has_value());
    ASSERT_TRUE(kept.keep({4}).has_value());
    const KeptBlob after_a_restart{directory / "state", kDomain, kProgram};
    EXPECT_EQ(after_a_restart.recall().value(), Message{4});
    const KeptBlob other{directory / "state", kOther, kProgram};
    EXPECT_EQ(other.recall().value(), std::nullopt);
}

TEST(KeptBlob, another_program_for_the_vm_begins_with_none_and_puts_its_own_in_place) {
    const config::TemporaryDirectory directory;
    const KeptBlob kept{directory / "state", kDomain, kProgram};
    const KeptBlob of_another_vm{directory / "state", kOther, kProgram};
    ASSERT_TRUE(kept.keep({1}).has_value());
    ASSERT_TRUE(of_another_vm.keep({2}).has_value());
    const KeptBlob update{directory / "state", kDomain, kUpdate};
    EXPECT_EQ(update.recall().value(), std::nullopt);
    ASSERT_TRUE(update.keep({3}).has_value());
    EXPECT_EQ(update.recall().value(), Message{3});
    EXPECT_EQ(kept.recall().value(), std::nullopt);
    EXPECT_EQ(of_another_vm.recall().value(), Message{2});
}

TEST(KeptBlob, what_cannot_be_kept_is_an_error_and_leaves_the_one_before) {
    const config::TemporaryDirectory directory;
    const KeptBlob kept{directory / "state", kDomain, kProgram};
    ASSERT_TRUE(kept.keep({1}).has_value());
    EXPECT_FALSE(kept.keep(Message(wire::kMaxKeptBlob + 1)).has_value());
    EXPECT_EQ(kept.recall().value(), Message{1});
    directory.write("file", "");
    EXPECT_FALSE(KeptBlob(directory / "file", kDomain, kProgram).keep({1}).has_value());
}

}  // namespace
}  // namespace sgm::host
