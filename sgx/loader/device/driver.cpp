// SPDX-License-Identifier: MIT
#include "sgx/loader/device/driver.hpp"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "sgx/loader/device/vdso.hpp"
#include "sgx/loader/extended_state.hpp"

namespace sgm::sgx::device {
namespace {

class LinuxDriver final : public Driver {
  public:
    int open(const char* path) override {
        const int descriptor = ::open(path, O_RDWR | O_CLOEXEC);
        return descriptor < 0 ? -errno : descriptor;
    }
    void close(int descriptor) override { ::close(descriptor); }
    int ioctl(int descriptor, unsigned long request, void* argument) override {
        return ::ioctl(descriptor, request, argument) < 0 ? -errno : 0;
    }
    int map(std::uint64_t address, std::uint64_t size, int protection, int descriptor) override {
        const int flags = descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
        const void* mapped = ::mmap(reinterpret_cast<void*>(address), size, protection,
                                    flags | MAP_FIXED, descriptor, 0);
        return mapped == MAP_FAILED ? -errno : 0;
    }
    // CPUID.(EAX=12H,ECX=1):EDX:ECX, which state enclaves may have (Intel SDM vol. 3D, 37.7.2).
    std::uint64_t useful_xfrm() override {
        std::uint32_t a = 0;
        std::uint32_t b = 0;
        std::uint32_t c = 0;
        std::uint32_t d = 0;
        if (__get_cpuid_count(0x12, 1, &a, &b, &c, &d) == 0) return 0;
        return sgx::useful_xfrm((std::uint64_t{d} << 32 | c) & enabled_xfrm());
    }
    vdso_sgx_enter_enclave_t enter_function() override {
        const auto vdso = ::getauxval(AT_SYSINFO_EHDR);
        return reinterpret_cast<vdso_sgx_enter_enclave_t>(
            vdso == 0 ? 0 : vdso_symbol(vdso, "__vdso_sgx_enter_enclave"));
    }
};

}  // namespace

Driver& linux_driver() {
    static LinuxDriver driver;
    return driver;
}

}  // namespace sgm::sgx::device
