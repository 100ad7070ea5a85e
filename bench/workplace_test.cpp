// SPDX-License-Identifier: MIT
#include "bench/workplace.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>

namespace sgm::bench {
namespace {

// The workplace of a program that ended by `signal` to all of its process group.
std::filesystem::path workplace_of_one_killed_by(int signal) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // whom the program leaves behind becomes our child
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const pid_t program = ::fork();
    if (program == 0) {
        ::setpgid(0, 0);
        const Workplace workplace;
        const std::string file = workplace / "ram";
        std::ofstream{file} << "what a guest holds";
        if (::write(ends[1], file.data(), file.size()) < 0) ::_exit(1);
        ::kill(0, signal);
        ::_exit(2);
    }
    ::close(ends[1]);
    std::array<char, 256> file{};
    const ssize_t size = ::read(ends[0], file.data(), file.size() - 1);
    ::close(ends[0]);
    EXPECT_GT(size, 0);
    int status = 0;
    EXPECT_EQ(::waitpid(program, &status, 0), program);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    return std::filesystem::path{file.data()}.parent_path();
}

TEST(Workplace, a_program_that_is_killed_leaves_none) {
    for (const int signal : {SIGTERM, SIGINT, SIGKILL}) {
        const auto place = workplace_of_one_killed_by(signal);
        EXPECT_EQ(place.parent_path(), "/dev/shm");
        EXPECT_FALSE(std::filesystem::exists(place)) << "after signal " << signal;
    }
}

TEST(Workplace, is_gone_when_it_is_no_longer_needed) {
    std::filesystem::path file;
    {
        const Workplace workplace;
        file = workplace / "ram";
        std::ofstream{file} << "what a guest holds";
        ASSERT_TRUE(std::filesystem::exists(file));
    }
    EXPECT_FALSE(std::filesystem::exists(file.parent_path()));
}

}  // namespace
}  // namespace sgm::bench
