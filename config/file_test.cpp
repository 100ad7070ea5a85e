// SPDX-License-Identifier: MIT
#include "config/file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "config/temporary_directory.hpp"

namespace sgm::config {
namespace {

TEST(File, what_is_written_comes_back_with_the_mode_that_was_asked_for) {
    const TemporaryDirectory dir;
    ASSERT_TRUE(write_file(dir / "f", "text\n", 0640, IfExists::refuse));
    EXPECT_EQ(read_file(dir / "f"), "text\n");
    struct stat status{};
    ASSERT_EQ(::stat((dir / "f").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(File, a_file_that_is_there_is_not_overwritten_and_nothing_is_left_behind) {
    const TemporaryDirectory dir;
    dir.write("f", "old");
    const auto written = write_file(dir / "f", "new", 0600, IfExists::refuse);
    ASSERT_FALSE(written);
    EXPECT_NE(written.error().sentence.find("already there"), std::string::npos);
    EXPECT_EQ(read_file(dir / "f"), "old");
    const auto files = std::filesystem::directory_iterator{dir.path()};
    EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST(File, a_file_is_replaced_when_asked) {
    const TemporaryDirectory dir;
    dir.write("f", "old");
    ASSERT_TRUE(write_file(dir / "f", "new", 0600, IfExists::replace));
    EXPECT_EQ(read_file(dir / "f"), "new");
}

TEST(File, what_cannot_be_read_is_named) {
    const TemporaryDirectory dir;
    const auto missing = read_file(dir / "nothing");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().sentence,
              "cannot open " + (dir / "nothing").string() + ": No such file or directory");
    EXPECT_FALSE(read_file(dir.path()));  // a directory
    ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
    EXPECT_FALSE(read_file(dir / "fifo"));  // and it does not hang
    dir.write("large", std::string(kMaxFileSize + 1, 'x'));
    EXPECT_FALSE(read_file(dir / "large"));
    dir.write("fits", std::string(kMaxFileSize, 'x'));
    EXPECT_TRUE(read_file(dir / "fits"));
}

TEST(File, a_secret_that_others_may_read_is_refused) {
    const TemporaryDirectory dir;
    for (const mode_t mode : {0640u, 0604u, 0620u, 0601u}) {
        const std::string name = "secret" + std::to_string(mode);
        ASSERT_TRUE(write_file(dir / name, "x", mode, IfExists::refuse));
        EXPECT_FALSE(read_private_file(dir / name)) << mode;
    }
    ASSERT_TRUE(write_file(dir / "own", "x", 0600, IfExists::refuse));
    EXPECT_TRUE(read_private_file(dir / "own"));
}

TEST(File, directories_are_made_down_to_the_last_and_may_be_there_already) {
    const TemporaryDirectory dir;
    EXPECT_TRUE(make_directory(dir / "a/b/c"));
    EXPECT_TRUE(make_directory(dir / "a/b/c"));
    dir.write("file", "");
    EXPECT_FALSE(make_directory(dir / "file"));
    EXPECT_FALSE(make_directory(dir / "file/below"));
}

}  // namespace
}  // namespace sgm::config
