// SPDX-License-Identifier: MIT
// A domain of Xen as any program in dom0 can read it: foreign mappings, the way that
// libxenforeignmemory goes (/dev/xen/privcmd, IOCTL_PRIVCMD_MMAPBATCH_V2). What SGmonitor's
// protection takes away.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "config/descriptor.hpp"
#include "config/error.hpp"
#include "hypervisor/core/port.hpp"

namespace sgm::bench {

class MappedDomain final : public hypervisor::Domain {
  public:
    // `size`: bytes of guest-physical memory from 0 up.
    [[nodiscard]] static config::Result<MappedDomain> open(std::uint32_t domid, std::uint64_t size);
    ~MappedDomain();
    MappedDomain(MappedDomain&& other) noexcept;

    // Off: each page is mapped for each read, as the usual tools do. On, as it begins: what was
    // mapped once stays.
    void keep_mappings(bool keep);
    // Only there is memory searched, all of it read: who searches knows already about where.
    void search_only(std::vector<wire::RamRange> ranges) { searched_ = std::move(ranges); }
    // Mappings asked of Xen so far, and how many pages it refused because it may not be.
    [[nodiscard]] std::uint64_t maps() const { return maps_; }
    [[nodiscard]] std::uint64_t refused() const { return refused_; }

    const wire::Uuid& uuid() const override { return uuid_; }
    std::uint64_t epoch() const override { return 1; }
    std::uint32_t vcpu_count() const override { return 1; }
    wire::Readability readability() const override { return wire::Readability::readable; }
    wire::Protection protection() const override { return wire::Protection::unprotected; }
    hypervisor::AddressFormat address_format() const override { return {}; }
    std::span<const wire::RamRange> ram_ranges() const override { return {&range_, 1}; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::optional<wire::Registers> registers(std::uint32_t) override { return std::nullopt; }
    bool hold() override { return false; }
    bool release() override { return false; }

  private:
    // Pages of the domain in our own memory.
    struct Window {
        std::uint8_t* memory = nullptr;
        std::vector<int> errors;  // of each page: 0 or -errno
    };
    MappedDomain(config::Descriptor privcmd, std::uint32_t domid, std::uint64_t size)
        : privcmd_{std::move(privcmd)},
          domid_{domid},
          range_{.start = 0, .size = size},
          searched_{range_} {}
    // nullptr: that page cannot be read. Maps its window if need be.
    [[nodiscard]] const std::uint8_t* find(std::uint64_t page);
    [[nodiscard]] Window map(std::uint64_t first_page, std::size_t count);
    void unmap_all();

    config::Descriptor privcmd_;
    std::uint32_t domid_;
    wire::RamRange range_;
    std::vector<wire::RamRange> searched_;  // in order
    wire::Uuid uuid_{};
    std::map<std::uint64_t, Window> windows_;  // by first page; without memory: none can be read
    bool keeps_ = true;
    std::uint64_t maps_ = 0;
    std::uint64_t refused_ = 0;
};

}  // namespace sgm::bench
