// SPDX-License-Identifier: MIT
#include "bench/workplace.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <system_error>

namespace sgm::bench {
namespace {

// Until nobody holds the other end of `lifeline`. Nothing else stays open: whoever waits for the
// end of the program's output is not to wait for this process.
[[noreturn]] void clean_up_after(int lifeline, const std::filesystem::path& path) {
    ::dup2(lifeline, 0);
    ::close_range(1, ~0u, 0);
    char none = 0;
    while (::read(0, &none, 1) < 0 && errno == EINTR) {
    }
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
    ::_exit(0);
}

}  // namespace

Workplace::Workplace() {
    std::array<int, 2> ends{};
    std::string name = "/dev/shm/sgm-bench-XXXXXX";
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    const config::Descriptor watched{ends[0]};
    lifeline_ = config::Descriptor{ends[1]};
    if (::mkdtemp(name.data()) == nullptr) return;
    cleaner_ = ::fork();
    if (cleaner_ == 0) {
        ::setpgid(0, 0);
        clean_up_after(watched.get(), name);
    }
    if (cleaner_ < 0) {
        ::rmdir(name.c_str());
        return;
    }
    // Here too: whoever comes first. A signal to the program's group does not reach it then.
    ::setpgid(cleaner_, cleaner_);
    path_ = name;
}

Workplace::~Workplace() {
    lifeline_ = config::Descriptor{};
    if (cleaner_ > 0) ::waitpid(cleaner_, nullptr, 0);
}

}  // namespace sgm::bench
