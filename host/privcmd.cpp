// SPDX-License-Identifier: MIT
#include "host/privcmd.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace sgm::host {
namespace {

// include/uapi/xen/privcmd.h, which cannot be included: it wants Xen's own headers.
struct PrivcmdHypercall {
    std::uint64_t number;
    std::uint64_t arguments[5];
};
constexpr unsigned long kIoctlHypercall = _IOC(_IOC_NONE, 'P', 0, sizeof(PrivcmdHypercall));

class LinuxPrivcmd final : public Privcmd {
  public:
    int open(const char* path) override {
        const int descriptor = ::open(path, O_RDWR | O_CLOEXEC);
        return descriptor < 0 ? -errno : descriptor;
    }
    void close(int descriptor) override { ::close(descriptor); }
    MutableBytes map(int descriptor, std::size_t size) override {
        void* const memory =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        if (memory == MAP_FAILED) return {};
        return {static_cast<std::uint8_t*>(memory), size};
    }
    void unmap(MutableBytes memory) override { ::munmap(memory.data(), memory.size()); }
    int hypercall(int descriptor, std::uint64_t number, std::uint64_t argument) override {
        PrivcmdHypercall call{.number = number, .arguments = {argument}};
        const int result = ::ioctl(descriptor, kIoctlHypercall, &call);
        return result < 0 ? -errno : result;
    }
};

}  // namespace

Privcmd& linux_privcmd() {
    static LinuxPrivcmd privcmd;
    return privcmd;
}

}  // namespace sgm::host
