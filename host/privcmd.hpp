// SPDX-License-Identifier: MIT
// The system calls that a hypercall from dom0's user space takes (Linux: drivers/xen/privcmd.c,
// <xen/privcmd.h>). An interface, so that tests can stand at this border; the real one only passes
// on.
#pragma once

#include <cstdint>

#include "wire/bytes.hpp"

namespace sgm::host {

inline constexpr const char* kPrivcmdNode = "/dev/xen/privcmd";
// Memory mapped from it stays present, as buffers of hypercalls must (privcmd-buf.c).
inline constexpr const char* kHypercallNode = "/dev/xen/hypercall";

// Every call answers as the kernel does: 0 or a descriptor, or -errno.
class Privcmd {
  public:
    virtual ~Privcmd() = default;
    Privcmd(const Privcmd&) = delete;
    Privcmd& operator=(const Privcmd&) = delete;

    // For reading and writing, closed on exec.
    [[nodiscard]] virtual int open(const char* path) = 0;
    virtual void close(int descriptor) = 0;
    // Whole pages, zeroed; data() is nullptr when there are none.
    [[nodiscard]] virtual MutableBytes map(int descriptor, std::size_t size) = 0;
    virtual void unmap(MutableBytes memory) = 0;
    // A hypercall with one argument, an address. What the hypervisor returned; it too says -errno.
    [[nodiscard]] virtual int hypercall(int descriptor, std::uint64_t number,
                                        std::uint64_t argument) = 0;

  protected:
    Privcmd() = default;
};

[[nodiscard]] Privcmd& linux_privcmd();

}  // namespace sgm::host
