// SPDX-License-Identifier: MIT
// For tests: the RAM file of a QEMU guest as a domain of the hypervisor core, without a QEMU that
// could be asked. The guest may be stopped or gone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "hypervisor/core/port.hpp"
#include "hypervisor/qemu/memory_file.hpp"

namespace sgm::guest::testing {

class RamFile final : public hypervisor::Domain {
  public:
    // `below_4g`: how much of the file is RAM from 0 up, the rest is RAM from 4 GiB up; without it
    // as QEMU's q35 does.
    RamFile(std::unique_ptr<qemu::MemoryFile> file, std::optional<std::uint64_t> below_4g);

    const wire::Uuid& uuid() const override { return uuid_; }
    std::uint64_t epoch() const override { return 1; }
    std::uint32_t vcpu_count() const override { return 1; }
    wire::Readability readability() const override { return wire::Readability::readable; }
    wire::Protection protection() const override { return wire::Protection::unprotected; }
    hypervisor::AddressFormat address_format() const override { return {}; }
    std::span<const wire::RamRange> ram_ranges() const override { return ranges_; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::span<const hypervisor::DirectRange> direct_ranges() override { return direct_ranges_; }
    std::optional<wire::Registers> registers(std::uint32_t) override { return std::nullopt; }
    bool hold() override { return false; }
    bool release() override { return false; }

  private:
    // How far what lies above 4 GiB is from its place in the file.
    [[nodiscard]] std::uint64_t shift(std::uint64_t physical) const;

    std::unique_ptr<qemu::MemoryFile> file_;
    wire::Uuid uuid_{};
    std::vector<wire::RamRange> ranges_;
    std::vector<hypervisor::DirectRange> direct_ranges_;
};

}  // namespace sgm::guest::testing
