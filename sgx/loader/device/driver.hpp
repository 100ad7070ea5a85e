// SPDX-License-Identifier: MIT
// The system calls that loading through Linux's in-tree SGX driver takes (5.11 and later;
// Documentation/arch/x86/sgx.rst, <asm/sgx.h>), and the vDSO's way into an enclave. An interface,
// so that tests can stand at this border; the real one only passes on.
#pragma once

#include <asm/sgx.h>

#include <cstdint>

namespace sgm::sgx::device {

inline constexpr const char* kEnclaveNode = "/dev/sgx_enclave";
// Whoever may open it may load enclaves with ATTRIBUTES.PROVISIONKEY.
inline constexpr const char* kProvisionNode = "/dev/sgx_provision";

// Every call answers as the kernel does: 0 or a descriptor, or -errno.
class Driver {
  public:
    virtual ~Driver() = default;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // For reading and writing, closed on exec. Each open enclave node is one enclave to be.
    [[nodiscard]] virtual int open(const char* path) = 0;
    virtual void close(int descriptor) = 0;
    [[nodiscard]] virtual int ioctl(int descriptor, unsigned long request, void* argument) = 0;
    // Shared, at exactly this address, over whatever was there. Descriptor -1: pages that nobody
    // may use.
    [[nodiscard]] virtual int map(std::uint64_t address, std::uint64_t size, int protection,
                                  int descriptor) = 0;

    // Which extended state an enclave here can have and make use of (XFRM).
    [[nodiscard]] virtual std::uint64_t useful_xfrm() = 0;

    // __vdso_sgx_enter_enclave; nullptr when this kernel has none.
    [[nodiscard]] virtual vdso_sgx_enter_enclave_t enter_function() = 0;

  protected:
    Driver() = default;
};

[[nodiscard]] Driver& linux_driver();

}  // namespace sgm::sgx::device
