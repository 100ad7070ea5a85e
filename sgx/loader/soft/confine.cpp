// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/confine.hpp"

#include <fmt/format.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace sgm::sgx::soft {
namespace {

// memfd_secret counts as locked memory; in a user namespace of its own, root's exemption is gone.
void raise_memory_lock_limit() {
    rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) == 0) return;
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

// No network, no System V IPC, no mounts of others, no other processes' names.
bool enter_empty_namespaces() {
    return ::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                     CLONE_NEWCGROUP) == 0;
}

// A Landlock ruleset that handles every access of the kernel's ABI 1 and allows none
// (Documentation/userspace-api/landlock.rst, Linux 5.13).
bool give_up_files() {
    landlock_ruleset_attr attributes{};
    attributes.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    const auto ruleset =
        static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
    if (ruleset < 0) return false;
    const bool restricted = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                            ::syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    const int error = errno;
    ::close(ruleset);
    errno = error;
    return restricted;
}

}  // namespace

std::string confine() {
    raise_memory_lock_limit();
    const std::string namespaces =
        enter_empty_namespaces()
            ? "empty namespaces"
            : fmt::format("no namespaces of its own ({})", std::strerror(errno));
    const std::string files = give_up_files()
                                  ? "no files (Landlock)"
                                  : fmt::format("no Landlock ({})", std::strerror(errno));
    return namespaces + ", " + files;
}

}  // namespace sgm::sgx::soft
