// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/child_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>

#include "config/descriptor.hpp"

namespace sgm::qemu::testing {
namespace {

constexpr int kFirst = 3;
constexpr int kBacklog = 4;

// In the child: only what may be called between fork(2) and execve(2) of a process with threads.
[[noreturn]] void become(char* const* words, std::span<int> listeners, int output, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);  // it has ended already
    if (output >= 0 && (::dup2(output, 1) < 0 || ::dup2(output, 2) < 0)) ::_exit(1);
    // Out of the way first: one may have another's number.
    const int above = kFirst + static_cast<int>(listeners.size());
    for (int& listener : listeners)
        listener = ::fcntl(listener, F_DUPFD, above);
    int next = kFirst;
    for (const int listener : listeners)
        if (::dup2(listener, next++) < 0 || ::listen(listener, kBacklog) != 0) ::_exit(1);
    // At execve(2), and no sooner: then the parent sees its pipe closed.
    ::close_range(static_cast<unsigned>(next), UINT_MAX, CLOSE_RANGE_CLOEXEC);
    ::execvp(words[0], words);
    ::_exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words, std::span<const int> listeners,
                           int output) {
    std::vector<char*> arguments;
    for (const std::string& word : words)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    std::vector<int> given{listeners.begin(), listeners.end()};
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    const config::Descriptor executed{ends[0]};
    config::Descriptor childs{ends[1]};
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) become(arguments.data(), given, output, parent);
    childs = config::Descriptor{};
    char byte = 0;
    (void)!::read(executed.get(), &byte, 1);
}

ChildProcess::~ChildProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

bool ChildProcess::has_ended() const {
    siginfo_t info{};
    // Left to be waited for: its number stays its own.
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid != 0;
}

}  // namespace sgm::qemu::testing
