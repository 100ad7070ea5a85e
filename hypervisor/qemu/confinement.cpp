// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/confinement.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <memory>

namespace sgm::qemu {
namespace {

std::unexpected<config::Error> failed(std::string_view what, int error = errno) {
    return std::unexpected{config::Error{fmt::format("{}: {}", what, std::strerror(error))}};
}

// With whatever arguments. Threads and memory, time, sockets that there are, reading files.
constexpr int kAllowed[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(brk),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close),
    SCMP_SYS(connect),
    SCMP_SYS(eventfd2),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(futex),
    SCMP_SYS(geteuid),
    SCMP_SYS(getpid),
    SCMP_SYS(getrandom),
    SCMP_SYS(getsockopt),
    SCMP_SYS(gettid),
    SCMP_SYS(lseek),
    SCMP_SYS(madvise),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(newfstatat),
    SCMP_SYS(poll),
    SCMP_SYS(read),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(unlink),
    SCMP_SYS(wait4),
    SCMP_SYS(write),
    SCMP_SYS(writev),
};

// Answered with an error instead of the end: the C library tries them and has another way.
constexpr struct {
    int call;
    int error;
} kRefused[] = {
    {SCMP_SYS(clone3), ENOSYS},  // its flags lie in memory, clone's in a register
    {SCMP_SYS(ioctl), ENOTTY},   // is standard error a terminal?
};

using Filter = std::unique_ptr<void, decltype(&::seccomp_release)>;

int add_rules(const Filter& filter) {
    int error = 0;
    const auto add = [&](std::uint32_t action, int call, std::initializer_list<scmp_arg_cmp> args) {
        if (error == 0) {
            error = ::seccomp_rule_add_array(filter.get(), action, call,
                                             static_cast<unsigned>(args.size()), args.begin());
        }
    };
    for (const int call : kAllowed)
        add(SCMP_ACT_ALLOW, call, {});
    for (const auto& [call, code] : kRefused)
        add(SCMP_ACT_ERRNO(static_cast<std::uint16_t>(code)), call, {});
    add(SCMP_ACT_ALLOW, SCMP_SYS(socket), {SCMP_CMP(0, SCMP_CMP_EQ, AF_UNIX, 0)});
    constexpr scmp_datum_t kWriting = O_ACCMODE | O_CREAT | O_TRUNC;
    add(SCMP_ACT_ALLOW, SCMP_SYS(openat), {SCMP_CMP(2, SCMP_CMP_MASKED_EQ, kWriting, O_RDONLY)});
    for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
        add(SCMP_ACT_ALLOW, call, {SCMP_CMP(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
    // Threads, not processes.
    add(SCMP_ACT_ALLOW, SCMP_SYS(clone),
        {SCMP_CMP(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)});
    return error;
}

}  // namespace

config::Result<void> harden() {
    const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
    if (::prctl(PR_SET_DUMPABLE, 0) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::setrlimit(RLIMIT_CORE, &no_core) != 0) {
        return failed("cannot protect this process");
    }
    // Several descriptors for each VM.
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)::setrlimit(RLIMIT_NOFILE, &files);
    }
    return {};
}

config::Result<void> become(const std::string& user) {
    if (::geteuid() != 0) return {};
    if (user.empty()) {
        return std::unexpected{config::Error{
            "this was started as root: name in hypervisor.toml the user that it is to become "
            "(user = \"sgmonitor\"), or user = \"root\" if root it must be"}};
    }
    errno = 0;
    const passwd* const entry = ::getpwnam(user.c_str());
    if (entry == nullptr) return failed(fmt::format("there is no user '{}'", user), errno);
    if (entry->pw_uid == 0) {
        spdlog::warn("this process stays root, as its configuration says");
        return {};
    }
    const uid_t uid = entry->pw_uid;
    const gid_t gid = entry->pw_gid;
    if (::initgroups(user.c_str(), gid) != 0 || ::setresgid(gid, gid, gid) != 0 ||
        ::setresuid(uid, uid, uid) != 0) {
        return failed(fmt::format("cannot become '{}'", user));
    }
    // A new identity makes a process dumpable again where fs.suid_dumpable says so.
    if (::prctl(PR_SET_DUMPABLE, 0) != 0) return failed("cannot protect this process");
    return {};
}

config::Result<void> give_up_system_calls() {
    const Filter filter{::seccomp_init(SCMP_ACT_KILL_PROCESS), &::seccomp_release};
    if (filter == nullptr) return failed("cannot make a seccomp filter", ENOMEM);
    int error = ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
    if (error == 0) error = add_rules(filter);
    if (error == 0) error = ::seccomp_load(filter.get());
    if (error != 0) return failed("cannot give up system calls (seccomp)", -error);
    return {};
}

}  // namespace sgm::qemu
