// SPDX-License-Identifier: MIT
// A VM that QEMU runs, as the core sees it: its RAM by the files behind it, the rest by QMP.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "config/error.hpp"
#include "hypervisor/core/port.hpp"
#include "hypervisor/qemu/duty_cycle.hpp"
#include "hypervisor/qemu/link.hpp"

namespace sgm::qemu {

// Nanoseconds of a clock that only grows.
using Clock = std::function<std::uint64_t()>;
[[nodiscard]] std::uint64_t boottime_ns();

class QemuDomain final : public hypervisor::Domain {
  public:
    // At most a tenth of its time a VM is held, and at most a tenth of the time others wait for
    // its QEMU; 200 ms at once, and one use more.
    static constexpr std::int64_t kHoldAtOnceNs = 200'000'000;
    static constexpr std::int64_t kHoldShare = 10;

    // As for QemuLink.
    QemuDomain(DomainSettings settings, std::uint64_t epoch, ContinueGuard* guard = nullptr,
               Clock clock = boottime_ns);

    [[nodiscard]] config::Result<void> attach();
    // Before each use: takes in what the link has found out since.
    void refresh();
    [[nodiscard]] std::uint64_t ram_size() const;
    // Why it is not readable; empty when it is.
    [[nodiscard]] std::string reason() const;
    [[nodiscard]] const QemuLink& link() const { return link_; }

    const wire::Uuid& uuid() const override { return uuid_; }
    std::uint64_t epoch() const override { return link_.epoch(); }
    std::uint32_t vcpu_count() const override;
    wire::Readability readability() const override;
    wire::Protection protection() const override { return wire::Protection::unprotected; }
    // QEMU's default CPUs have 40 physical bits, others as many as the host; the core's bound by
    // RAM serves for both.
    hypervisor::AddressFormat address_format() const override { return {}; }
    std::span<const wire::RamRange> ram_ranges() const override;
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::span<const hypervisor::DirectRange> direct_ranges() override;
    std::optional<wire::Registers> registers(std::uint32_t vcpu) override;
    bool hold() override;
    bool release() override;

  private:
    // Where in a memory file all of [physical, physical + size) lies; nullptr: nowhere.
    struct Place {
        MemoryFile* file;
        std::uint64_t offset;
    };
    [[nodiscard]] Place place_of(std::uint64_t physical, std::uint64_t size) const;
    [[nodiscard]] bool is_cut_short() const;
    [[nodiscard]] std::int64_t now() const { return static_cast<std::int64_t>(clock_()); }

    wire::Uuid uuid_;
    Clock clock_;
    std::shared_ptr<Attachment> attachment_;  // of this batch
    // `info registers -a` of this batch: all vCPUs at once.
    std::optional<std::string> registers_;
    DutyCycle holding_{kHoldAtOnceNs, kHoldShare};
    DutyCycle waiting_{kHoldAtOnceNs, kHoldShare};
    std::optional<std::int64_t> held_since_;
    QemuLink link_;
};

}  // namespace sgm::qemu
