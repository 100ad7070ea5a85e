// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/memory_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <random>
#include <string_view>

#include "config/temporary_directory.hpp"

namespace sgm::qemu {
namespace {

constexpr std::uint64_t kMiB = 1ull << 20;
constexpr std::uint64_t kPage = 4096;

class MemoryFileTest : public ::testing::Test {
  protected:
    static constexpr std::uint64_t kSize = 64 * kMiB;

    MemoryFileTest() {
        EXPECT_EQ(::ftruncate(ram.get(), kSize), 0);
        file = std::move(*MemoryFile::open(fmt::format("/proc/self/fd/{}", ram.get())));
    }
    void put(std::uint64_t offset, std::string_view text) {
        EXPECT_EQ(::pwrite(ram.get(), text.data(), text.size(), static_cast<off_t>(offset)),
                  static_cast<ssize_t>(text.size()));
    }
    std::string get(std::uint64_t offset, std::size_t size) {
        std::string text(size, '?');
        EXPECT_TRUE(file->read(offset, {reinterpret_cast<std::uint8_t*>(text.data()), size}));
        return text;
    }
    std::int64_t blocks() const {
        struct stat status{};
        EXPECT_EQ(::fstat(ram.get(), &status), 0);
        return status.st_blocks;
    }

    Descriptor ram{::memfd_create("ram", MFD_CLOEXEC)};
    std::unique_ptr<MemoryFile> file;
};

TEST_F(MemoryFileTest, reading_everything_populates_nothing) {
    put(5 * kPage + 10, "here");
    put(40 * kMiB, "and here");
    const std::int64_t before = blocks();
    std::vector<std::uint8_t> all(kSize);
    ASSERT_TRUE(file->read(0, all));
    EXPECT_EQ(blocks(), before);
    EXPECT_EQ(std::ranges::count(all, std::uint8_t{0}), static_cast<std::ptrdiff_t>(kSize - 12));
    for (std::uint64_t at = 0; at < kSize; at += kPage)
        (void)get(at, 8);
    EXPECT_EQ(blocks(), before);
}

TEST_F(MemoryFileTest, what_the_guest_writes_is_seen_at_once_also_where_a_hole_was) {
    EXPECT_EQ(get(kMiB, 5), std::string(5, '\0'));
    put(kMiB, "hello");
    EXPECT_EQ(get(kMiB, 5), "hello");
    put(kMiB, "later");
    EXPECT_EQ(get(kMiB, 5), "later");
}

TEST_F(MemoryFileTest, a_read_across_data_and_holes_gives_both) {
    put(3 * kPage - 2, "ab");
    put(4 * kPage, "cd");
    const std::string text = get(3 * kPage - 2, kPage + 4);
    EXPECT_EQ(text.substr(0, 2), "ab");
    EXPECT_EQ(text.substr(2, kPage), std::string(kPage, '\0'));
    EXPECT_EQ(text.substr(kPage + 2), "cd");
}

TEST_F(MemoryFileTest, populated_extents_are_those_that_were_written) {
    put(kMiB, std::string(2 * kPage, 'x'));
    put(kSize - 1, "y");
    const auto first = file->populated(0, kSize);
    EXPECT_EQ(first.start, kMiB);
    EXPECT_EQ(first.size, 2 * kPage);
    const auto inside = file->populated(kMiB + 5, kMiB + 10);
    EXPECT_EQ(inside.start, kMiB + 5);
    EXPECT_EQ(inside.size, 5u);
    const auto last = file->populated(kMiB + 2 * kPage, kSize);
    EXPECT_EQ(last.start, kSize - kPage);
    EXPECT_EQ(last.size, kPage);
    EXPECT_EQ(file->populated(kMiB + 2 * kPage, kSize - kPage).size, 0u);
}

TEST_F(MemoryFileTest, stretches_of_populated_memory_leave_no_gap_and_allocate_nothing) {
    put(3 * kMiB, std::string(40 * kMiB, 'x'));
    const std::int64_t before = blocks();
    std::uint64_t at = 3 * kMiB;
    while (at < kSize) {
        const auto stretch = file->populated(at, kSize);
        if (stretch.size == 0) break;
        EXPECT_EQ(stretch.start, at);
        EXPECT_LE(stretch.size, 16 * kMiB);
        at = stretch.start + stretch.size;
    }
    EXPECT_EQ(at, 43 * kMiB);
    EXPECT_EQ(blocks(), before);
}

TEST_F(MemoryFileTest, random_reads_are_what_pread_gives) {
    std::mt19937_64 random{8};
    for (int i = 0; i < 200; ++i) {
        put(random() % (kSize - 100), std::string(random() % 100, static_cast<char>(random())));
    }
    const std::int64_t before = blocks();
    for (int i = 0; i < 5000; ++i) {
        const std::size_t size = 1 + random() % (3 * kPage);
        const std::uint64_t offset = random() % (kSize - size);
        std::string expected(size, '?');
        ASSERT_EQ(::pread(ram.get(), expected.data(), size, static_cast<off_t>(offset)),
                  static_cast<ssize_t>(size));
        ASSERT_EQ(get(offset, size), expected);
    }
    EXPECT_EQ(blocks(), before);
}

TEST_F(MemoryFileTest, a_file_that_is_cut_short_is_lost_and_ends_nothing) {
    put(5 * kMiB, "here");
    put(kMiB, "still there");
    EXPECT_EQ(get(5 * kMiB, 4), "here");
    auto other_ram = Descriptor{::memfd_create("other", MFD_CLOEXEC)};
    ASSERT_EQ(::ftruncate(other_ram.get(), kMiB), 0);
    ASSERT_EQ(::pwrite(other_ram.get(), "other", 5, 0), 5);
    const auto other = std::move(*MemoryFile::adopt(std::move(other_ram), "other"));

    ASSERT_EQ(::ftruncate(ram.get(), 2 * kMiB), 0);
    std::array<std::uint8_t, 64> out{};
    EXPECT_FALSE(file->read(5 * kMiB, out)) << "a page that was known as data: SIGBUS";
    EXPECT_TRUE(file->is_lost());
    EXPECT_FALSE(file->read(kMiB, out)) << "nothing of it is believed any more";
    EXPECT_TRUE(other->read(0, out));
    EXPECT_EQ(out[0], 'o');
}

TEST_F(MemoryFileTest, what_lies_beyond_a_cut_is_not_taken_for_a_hole) {
    ASSERT_EQ(::ftruncate(ram.get(), 2 * kMiB), 0);
    std::array<std::uint8_t, 8> out{};
    EXPECT_FALSE(file->read(5 * kMiB, out));
}

TEST(MemoryFile, what_is_no_memory_is_refused_with_a_sentence) {
    const config::TemporaryDirectory directory;
    const auto refusal = [](const std::filesystem::path& path) {
        const auto file = MemoryFile::open(path);
        return file ? std::string{} : file.error().sentence;
    };
    EXPECT_NE(refusal(directory / "nothing").find("No such file"), std::string::npos);
    EXPECT_NE(refusal("/dev/null").find("not a VM's memory"), std::string::npos);
    EXPECT_NE(refusal(directory.path()).find("not a VM's memory"), std::string::npos);
    EXPECT_NE(refusal(directory.write("empty", "")).find("not a VM's memory"), std::string::npos);
}

}  // namespace
}  // namespace sgm::qemu
