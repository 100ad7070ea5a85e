// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <vector>

#include "hypervisor/core/port.hpp"
#include "hypervisor/qemu/domain.hpp"

namespace sgm::qemu {

// The VMs that this process serves, the kernel's monotonic clock and its randomness.
class QemuPort final : public hypervisor::Port {
  public:
    void add(std::unique_ptr<QemuDomain> domain) { domains_.push_back(std::move(domain)); }

    std::string_view name() const override { return "qemu"; }
    std::uint64_t now_ns() override;
    bool random(MutableBytes out) override;
    hypervisor::Domain* find(const wire::Uuid& uuid) override;

  private:
    std::vector<std::unique_ptr<QemuDomain>> domains_;
};

}  // namespace sgm::qemu
