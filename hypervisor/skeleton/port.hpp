// SPDX-License-Identifier: MIT
// Copy this directory to begin a port. hypervisor/core/port.hpp has the promises; the comments here
// say what keeps them.
#pragma once

#include "hypervisor/core/port.hpp"

namespace sgm::skeleton {

class SkeletonDomain final : public hypervisor::Domain {
  public:
    explicit SkeletonDomain(const wire::Uuid& uuid) : uuid_{uuid} {}

    const wire::Uuid& uuid() const override { return uuid_; }
    // Count what replaces the guest's memory: reset, restore, migration.
    std::uint64_t epoch() const override { return 0; }
    std::uint32_t vcpu_count() const override { return 0; }
    // Say why not rather than pass over it: encrypted, private, gone.
    wire::Readability readability() const override { return wire::Readability::gone; }
    wire::Protection protection() const override { return wire::Protection::unknown; }
    hypervisor::AddressFormat address_format() const override { return {}; }
    // RAM as the guest's firmware sees it, without device memory.
    std::span<const wire::RamRange> ram_ranges() const override { return {}; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::optional<wire::Registers> registers(std::uint32_t vcpu) override;
    // Bounded by the port too: a hold ends even if release() never comes.
    bool hold() override { return false; }
    bool release() override { return false; }

  private:
    wire::Uuid uuid_;
};

class SkeletonPort final : public hypervisor::Port {
  public:
    std::string_view name() const override { return "skeleton"; }
    // A clock that only grows, also over the machine's sleep.
    std::uint64_t now_ns() override { return 0; }
    bool random(MutableBytes) override { return false; }
    hypervisor::Domain* find(const wire::Uuid&) override { return nullptr; }
};

}  // namespace sgm::skeleton
