// SPDX-License-Identifier: MIT
// For tests: the RAM file of a QEMU guest (memory-backend-file) as a domain of the hypervisor core,
// running or stopped or long gone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hypervisor/core/port.hpp"

namespace sgm::guest::testing {

class RamFile final : public hypervisor::Domain {
  public:
    // `below_4g`: how much of the file is RAM from 0 up, the rest is RAM from 4 GiB up; without it
    // as QEMU's q35 does. Prints why and returns nullptr when the file cannot be used.
    static std::unique_ptr<RamFile> open(const std::string& path,
                                         std::optional<std::uint64_t> below_4g);
    ~RamFile();
    RamFile(const RamFile&) = delete;
    RamFile& operator=(const RamFile&) = delete;

    const wire::Uuid& uuid() const override { return uuid_; }
    std::uint64_t epoch() const override { return 1; }
    std::uint32_t vcpu_count() const override { return 1; }
    wire::Readability readability() const override { return wire::Readability::readable; }
    wire::Protection protection() const override { return wire::Protection::unprotected; }
    hypervisor::AddressFormat address_format() const override { return {}; }
    std::span<const wire::RamRange> ram_ranges() const override { return ranges_; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::optional<wire::Registers> registers(std::uint32_t) override { return std::nullopt; }
    bool hold() override { return false; }
    bool release() override { return false; }

  private:
    RamFile(int file, std::uint64_t size, std::uint64_t below_4g);

    int file_;
    std::uint64_t below_4g_;
    wire::Uuid uuid_{};
    std::vector<wire::RamRange> ranges_;
};

// A clock, and nothing else: the operations need no more.
class RamFilePort final : public hypervisor::Port {
  public:
    std::string_view name() const override { return "ram-file"; }
    std::uint64_t now_ns() override;
    bool random(MutableBytes) override { return false; }
    hypervisor::Domain* find(const wire::Uuid&) override { return nullptr; }
};

}  // namespace sgm::guest::testing
