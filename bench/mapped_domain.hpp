// SPDX-License-Identifier: MIT
// A domain of Xen as any program in dom0 can read it: foreign mappings, the way that
// libxenforeignmemory goes (/dev/xen/privcmd, IOCTL_PRIVCMD_MMAPBATCH_V2). What SGmonitor's
// protection takes away.
#pragma once

#include <cstdint>
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

    // Off: each page is mapped for each read, as the usual tools do.
    void keep_window(bool keep) { keeps_window_ = keep; }
    // Nothing but this page is searched, and all of memory read: who searches knows already where.
    void search_only(std::uint64_t physical) { searched_ = {physical & ~(kPage - 1), kPage}; }
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
    static constexpr std::uint64_t kPage = 4096;
    struct Window {
        std::uint64_t first_page = 0;
        std::uint8_t* memory = nullptr;
        std::vector<int> errors;  // of each page: 0 or -errno
    };
    MappedDomain(config::Descriptor privcmd, std::uint32_t domid, std::uint64_t size)
        : privcmd_{std::move(privcmd)},
          domid_{domid},
          range_{.start = 0, .size = size},
          searched_{range_} {}
    // Maps so many pages and forgets what was mapped before. False: it cannot be.
    [[nodiscard]] bool map(std::uint64_t first_page, std::size_t count);
    void unmap();
    // Whether the page is in the window now, mapping it if need be.
    [[nodiscard]] bool find(std::uint64_t page);

    config::Descriptor privcmd_;
    std::uint32_t domid_;
    wire::RamRange range_;
    wire::RamRange searched_;
    wire::Uuid uuid_{};
    Window window_;
    bool keeps_window_ = true;
    std::uint64_t maps_ = 0;
    std::uint64_t refused_ = 0;
};

}  // namespace sgm::bench
