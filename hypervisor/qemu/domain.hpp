// SPDX-License-Identifier: MIT
// A VM that QEMU runs: its RAM by the file behind it, the rest by QMP.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "hypervisor/core/port.hpp"
#include "hypervisor/qemu/memory_file.hpp"
#include "hypervisor/qemu/memory_map.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace sgm::qemu {

struct DomainSettings {
    wire::Uuid uuid;
    std::filesystem::path memory;
    std::filesystem::path qmp;
    std::string backend;  // the RAM block's name in QEMU; empty: found by its size
};

class QemuDomain final : public hypervisor::Domain {
  public:
    // `epoch`: the first; each loss of QEMU and each reset gives the next.
    QemuDomain(DomainSettings settings, std::uint64_t epoch)
        : settings_{std::move(settings)}, epoch_{epoch} {}
    // Makes sure that the VM runs.
    ~QemuDomain();
    QemuDomain(const QemuDomain&) = delete;
    QemuDomain& operator=(const QemuDomain&) = delete;

    // Opens the memory, reaches QEMU and learns where the RAM lies.
    [[nodiscard]] config::Result<void> attach();
    // Before each use: takes in what QEMU has said; attaches again, not too often, if it was gone.
    void refresh();
    [[nodiscard]] std::uint64_t ram_size() const;

    const wire::Uuid& uuid() const override { return settings_.uuid; }
    std::uint64_t epoch() const override { return epoch_; }
    std::uint32_t vcpu_count() const override { return vcpu_count_; }
    wire::Readability readability() const override;
    wire::Protection protection() const override { return wire::Protection::unprotected; }
    // QEMU's default CPUs have 40 physical bits, others as many as the host; the core's bound by
    // RAM serves for both.
    hypervisor::AddressFormat address_format() const override { return {}; }
    std::span<const wire::RamRange> ram_ranges() const override { return ranges_; }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override;
    bool read(std::uint64_t physical, MutableBytes out) override;
    std::optional<wire::Registers> registers(std::uint32_t vcpu) override;
    bool hold() override;
    bool release() override;

  private:
    struct Attachment {
        std::unique_ptr<MemoryFile> memory;
        Qmp qmp;
        std::vector<MappedRange> map;
    };

    void detach();
    [[nodiscard]] bool is_attached() const { return attachment_ && attachment_->qmp.is_open(); }
    [[nodiscard]] Qmp* qmp() { return is_attached() ? &attachment_->qmp : nullptr; }
    // Where in the memory file all of [physical, physical + size) lies; no memory: nowhere.
    struct Place {
        MemoryFile* memory;
        std::uint64_t offset;
    };
    [[nodiscard]] Place place_of(std::uint64_t physical, std::uint64_t size) const;

    DomainSettings settings_;
    std::uint64_t epoch_;
    std::uint32_t vcpu_count_ = 0;
    bool encrypted_ = false;
    bool must_continue_ = false;  // we have stopped the vCPUs
    std::optional<Attachment> attachment_;
    std::vector<wire::RamRange> ranges_;
    std::chrono::steady_clock::time_point last_attempt_{};
};

}  // namespace sgm::qemu
