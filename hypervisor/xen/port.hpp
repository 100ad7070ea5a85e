// SPDX-License-Identifier: MIT
// Xen's domains as the core sees them, over shim.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "hypervisor/core/port.hpp"
#include "hypervisor/xen/shim.h"

namespace sgm::xen {

class XenDomain final : public hypervisor::Domain {
  public:
    XenDomain() = default;
    ~XenDomain() { reset(); }
    XenDomain(const XenDomain&) = delete;
    XenDomain& operator=(const XenDomain&) = delete;

    // Takes over the reference to `domain`.
    void bind(::domain* domain, const wire::Uuid& uuid);
    void reset();
    [[nodiscard]] bool is_bound() const { return domain_ != nullptr; }

    [[nodiscard]] const wire::Uuid& uuid() const override { return uuid_; }
    [[nodiscard]] std::uint64_t epoch() const override { return info_.epoch; }
    [[nodiscard]] std::uint32_t vcpu_count() const override { return info_.vcpu_count; }
    [[nodiscard]] wire::Readability readability() const override;
    [[nodiscard]] wire::Protection protection() const override;
    [[nodiscard]] hypervisor::AddressFormat address_format() const override {
        return {.physical_bits = info_.physical_bits};
    }
    [[nodiscard]] std::span<const wire::RamRange> ram_ranges() const override { return {&ram_, 1}; }
    [[nodiscard]] wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    [[nodiscard]] bool read(std::uint64_t physical, MutableBytes out) override;
    [[nodiscard]] std::optional<wire::Registers> registers(std::uint32_t vcpu) override;
    [[nodiscard]] bool hold() override;
    bool release() override;

  private:
    ::domain* domain_ = nullptr;
    wire::Uuid uuid_{};
    sgm_xen_domain_info info_{};
    wire::RamRange ram_{};
    bool held_ = false;
};

class XenPort final : public hypervisor::Port {
  public:
    [[nodiscard]] std::string_view name() const override { return "xen"; }
    [[nodiscard]] std::uint64_t now_ns() override { return sgm_xen_now_ns(); }
    [[nodiscard]] std::uint64_t max_batch_ns() const override;
    [[nodiscard]] bool random(MutableBytes out) override;
    // The first domain that is asked for stays until end_call(): it is the one that the call is
    // about. Any other is good until the next is asked for.
    [[nodiscard]] hypervisor::Domain* find(const wire::Uuid& uuid) override;

    // Gives all references back.
    void end_call();

  private:
    XenDomain subject_;
    XenDomain other_;
};

}  // namespace sgm::xen
