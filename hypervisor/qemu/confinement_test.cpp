// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/confinement.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

namespace sgm::qemu {
namespace {

// The signal that ends a confined process which does this; 0: it went on to its end.
int signal_of(const std::function<bool()>& action) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (!harden() || !give_up_system_calls()) ::_exit(2);
        ::_exit(action() ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) return WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    return 0;
}

TEST(Confinement, a_forbidden_call_ends_the_process) {
    const auto socket_of = [](int family) {
        return [family] { return ::socket(family, SOCK_STREAM, 0) >= 0; };
    };
    EXPECT_EQ(signal_of(socket_of(AF_INET)), SIGSYS);
    EXPECT_EQ(signal_of(socket_of(AF_INET6)), SIGSYS);
    EXPECT_EQ(signal_of(socket_of(AF_NETLINK)), SIGSYS);
    EXPECT_EQ(signal_of([] { return ::open("/tmp/x", O_WRONLY | O_CREAT, 0600) >= 0; }), SIGSYS);
    EXPECT_EQ(signal_of([] { return ::open("/proc/self/mem", O_RDWR) >= 0; }), SIGSYS);
    EXPECT_EQ(signal_of([] { return ::fork() >= 0; }), SIGSYS);
    EXPECT_EQ(signal_of([] { return ::execl("/bin/true", "true", nullptr) == 0; }), SIGSYS);
    EXPECT_EQ(signal_of([] {
                  return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                                -1, 0) != MAP_FAILED;
              }),
              SIGSYS);
    EXPECT_EQ(signal_of([] { return ::syscall(SYS_ptrace, 0, 0, 0, 0) == 0; }), SIGSYS);
    EXPECT_EQ(signal_of([] { return ::setuid(0) == 0; }), SIGSYS);
}

TEST(Confinement, what_serving_needs_goes_on) {
    EXPECT_EQ(signal_of([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }), 0);
    EXPECT_EQ(signal_of([] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0; }), 0);
}

TEST(Confinement, it_holds_for_threads_that_there_were_before) {
    EXPECT_EQ(signal_of([] { return true; }), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        int pipe_ends[2];
        (void)!::pipe(pipe_ends);
        std::thread early{[&] {
            char byte = 0;
            (void)!::read(pipe_ends[0], &byte, 1);
            (void)::socket(AF_INET, SOCK_STREAM, 0);
        }};
        if (!harden() || !give_up_system_calls()) ::_exit(2);
        (void)!::write(pipe_ends[1], "x", 1);
        early.join();
        ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

}  // namespace
}  // namespace sgm::qemu
