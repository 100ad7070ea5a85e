// SPDX-License-Identifier: MIT
#include "host/probes.hpp"

#include <cpuid.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "config/descriptor.hpp"
#include "sgx/loader/device/driver.hpp"

namespace sgm::host {
namespace {

class ThisMachine final : public Probes {
  public:
    CpuidLeaf cpuid(std::uint32_t leaf, std::uint32_t subleaf) const override {
        CpuidLeaf result{};
        if (__get_cpuid_max(0, nullptr) < leaf) return result;
        __cpuid_count(leaf, subleaf, result.eax, result.ebx, result.ecx, result.edx);
        return result;
    }

    Node node(const std::string& path) const override {
        struct stat status{};
        if (::stat(path.c_str(), &status) != 0)
            return {.exists = false, .open_error = errno, .owner = {}};
        int error = 0;
        if (S_ISCHR(status.st_mode)) {
            const config::Descriptor opened{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
            error = opened ? 0 : errno;
        } else if (::access(path.c_str(), R_OK | W_OK) != 0) {
            error = errno;
        }
        const passwd* user = ::getpwuid(status.st_uid);
        const group* owner = ::getgrgid(status.st_gid);
        return {.exists = true,
                .open_error = error,
                .owner = fmt::format(
                    "{}:{} {:04o}", user != nullptr ? user->pw_name : std::to_string(status.st_uid),
                    owner != nullptr ? owner->gr_name : std::to_string(status.st_gid),
                    status.st_mode & 07777)};
    }

    std::optional<std::string> file(const std::string& path) const override {
        std::ifstream in{path};
        if (!in) return std::nullopt;
        return std::string{std::istreambuf_iterator<char>{in}, {}};
    }

    std::string kernel_release() const override {
        utsname name{};
        return ::uname(&name) == 0 ? name.release : "";
    }

    bool vdso_enters_enclaves() const override {
        return sgx::device::linux_driver().enter_function() != nullptr;
    }

    bool fsgsbase() const override {
        constexpr unsigned long kHwcap2Fsgsbase = 1u << 1;
        return (::getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) != 0;
    }

    int try_memfd_secret(std::size_t size) const override {
#ifdef SYS_memfd_secret
        const config::Descriptor memory{static_cast<int>(::syscall(SYS_memfd_secret, 0))};
        if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(size)) != 0) return errno;
        void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
        if (mapped == MAP_FAILED) return errno;
        ::munmap(mapped, size);
        return 0;
#else
        return size == 0 ? EINVAL : ENOSYS;
#endif
    }

    int try_user_namespace() const override {
        const pid_t child = ::fork();
        if (child < 0) return errno;
        if (child == 0) ::_exit(::unshare(CLONE_NEWUSER) == 0 ? 0 : errno);
        int status = 0;
        if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return ECHILD;
        return WEXITSTATUS(status);
    }

    int landlock_abi() const override {
#ifdef SYS_landlock_create_ruleset
        const long abi =
            ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
        return abi < 0 ? 0 : static_cast<int>(abi);
#else
        return 0;
#endif
    }

    std::uint64_t memlock_limit() const override {
        rlimit limit{};
        return ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 ? limit.rlim_max : 0;
    }

    unsigned cores() const override {
        cpu_set_t set;
        return ::sched_getaffinity(0, sizeof set, &set) == 0
                   ? static_cast<unsigned>(CPU_COUNT(&set))
                   : 1;
    }
};

}  // namespace

std::unique_ptr<Probes> this_machine() {
    return std::make_unique<ThisMachine>();
}

}  // namespace sgm::host
