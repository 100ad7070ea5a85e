// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/core/port.hpp"
#include "hypervisor/qemu/domain.hpp"

namespace sgm::qemu {

// What was served, and what was refused with which status.
struct Counts {
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;  // of replies
    std::map<wire::Status, std::uint64_t> refusals;
};

// The VMs that this process serves, the kernel's monotonic clock and its randomness. Not for two
// threads at a time: everything happens with the turn of the core's gate.
class QemuPort final : public hypervisor::Port {
  public:
    struct Vm {
        std::unique_ptr<QemuDomain> domain;
        Counts counts;
    };

    // What was there under this uuid is returned, for the caller to end without the core's turn.
    [[nodiscard]] std::unique_ptr<QemuDomain> add(std::unique_ptr<QemuDomain> domain);
    [[nodiscard]] std::unique_ptr<QemuDomain> remove(const wire::Uuid& uuid);
    // A call has ended: it is counted for the VM that it was about.
    void count(wire::Status status, std::size_t size);

    // In the order of their uuids.
    [[nodiscard]] std::vector<const Vm*> vms() const;
    [[nodiscard]] QemuDomain* domain(const wire::Uuid& uuid) const;
    // Calls about no VM, or about none that there is.
    [[nodiscard]] const Counts& other_counts() const { return other_; }

    std::string_view name() const override { return "qemu"; }
    std::uint64_t now_ns() override { return boottime_ns(); }
    bool random(MutableBytes out) override;
    hypervisor::Domain* find(const wire::Uuid& uuid) override;

  private:
    std::map<wire::Uuid, Vm> vms_;
    Vm* current_ = nullptr;  // of the call at hand
    Counts other_;
};

}  // namespace sgm::qemu
