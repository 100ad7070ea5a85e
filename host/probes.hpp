// SPDX-License-Identifier: MIT
// What `sgmonitord doctor` asks of a machine. An interface, so that tests can be any machine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace sgm::host {

struct CpuidLeaf {
    std::uint32_t eax, ebx, ecx, edx;
};

// A device node or a socket.
struct Node {
    bool exists;
    int open_error;     // errno of using it for reading and writing; 0: it can be used
    std::string owner;  // "root:sgx 0660"; empty when it is not there
};

class Probes {
  public:
    virtual ~Probes() = default;
    Probes(const Probes&) = delete;
    Probes& operator=(const Probes&) = delete;

    [[nodiscard]] virtual CpuidLeaf cpuid(std::uint32_t leaf, std::uint32_t subleaf) const = 0;
    [[nodiscard]] virtual Node node(const std::string& path) const = 0;
    // nullopt when it cannot be read.
    [[nodiscard]] virtual std::optional<std::string> file(const std::string& path) const = 0;
    [[nodiscard]] virtual std::string kernel_release() const = 0;
    // Whether the vDSO has the way into enclaves: it is there exactly with CONFIG_X86_SGX.
    [[nodiscard]] virtual bool vdso_enters_enclaves() const = 0;
    // Whether programs may set FS and GS by themselves (AT_HWCAP2).
    [[nodiscard]] virtual bool fsgsbase() const = 0;

    // Each tries it and answers 0, or the errno.
    [[nodiscard]] virtual int try_memfd_secret(std::size_t size) const = 0;
    [[nodiscard]] virtual int try_user_namespace() const = 0;

    [[nodiscard]] virtual int landlock_abi() const = 0;             // 0: none
    [[nodiscard]] virtual std::uint64_t memlock_limit() const = 0;  // bytes, the hard limit
    [[nodiscard]] virtual unsigned cores() const = 0;               // that this process may use

  protected:
    Probes() = default;
};

[[nodiscard]] std::unique_ptr<Probes> this_machine();

}  // namespace sgm::host
