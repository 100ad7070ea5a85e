// SPDX-License-Identifier: MIT
// The file behind a VM's RAM (tmpfs or memfd), mapped for reading. What the guest never wrote is a
// hole; touching a hole through the mapping would allocate it, so holes are answered with zeros
// from what SEEK_DATA says and never touched.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "config/descriptor.hpp"
#include "config/error.hpp"
#include "hypervisor/qemu/bus_guard.hpp"
#include "wire/bytes.hpp"

namespace sgm::qemu {

using config::Descriptor;

class MemoryFile final {
  public:
    [[nodiscard]] static config::Result<std::unique_ptr<MemoryFile>> open(
        const std::filesystem::path& path);
    // The same for a file that somebody else has opened; `name` is for errors.
    [[nodiscard]] static config::Result<std::unique_ptr<MemoryFile>> adopt(Descriptor file,
                                                                           const std::string& name);
    ~MemoryFile();
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    [[nodiscard]] std::uint64_t size() const { return size_; }

    // Before each batch. What was seen to be data may have been given back since (ballooning), so
    // it is asked for again now and then. (Not at each read: the clock costs more than that.)
    void forget_when_old();

    // [offset, offset + out.size()) lies in the file. False when somebody has cut the file short:
    // then, and from then on, `out` is not to be used.
    [[nodiscard]] bool read(std::uint64_t offset, MutableBytes out);
    [[nodiscard]] bool is_lost() const { return cut_short_ || guard_.lost(); }

    // For who reads in place: the mapping, and the bits of the pages that may be touched
    // (hypervisor/core/port.hpp, DirectRange). Both stay where they are. What is read counts only
    // when is_lost() says false afterwards.
    [[nodiscard]] const std::uint8_t* memory() const { return memory_; }
    [[nodiscard]] const std::uint64_t* known_data() const { return known_data_.data(); }

    struct Extent {
        std::uint64_t start;
        std::uint64_t size;  // 0: none
    };
    // The first data at or after `start`, clipped to [start, end) and to 16 MiB; both lie in the
    // file. More may follow at its end.
    [[nodiscard]] Extent populated(std::uint64_t start, std::uint64_t end);

  private:
    MemoryFile(Descriptor file, const std::uint8_t* memory, std::uint64_t size, BusGuard guard);

    [[nodiscard]] bool is_populated(std::uint64_t page);
    [[nodiscard]] bool is_known(std::uint64_t page) const {
        return (known_data_[page / 64] >> (page % 64) & 1) != 0;
    }
    void mark_known(std::uint64_t page) {
        known_data_[page / 64] |= std::uint64_t{1} << (page % 64);
    }
    [[nodiscard]] std::size_t page_count() const { return (size_ + 4095) / 4096; }

    Descriptor file_;
    const std::uint8_t* memory_;
    std::uint64_t size_;
    BusGuard guard_;
    bool may_shrink_;  // no seal keeps anybody from it
    bool cut_short_ = false;
    // One bit for each page that was seen to be data. A page that is not marked is asked for again.
    std::vector<std::uint64_t> known_data_;
    std::chrono::steady_clock::time_point known_since_{};
};

}  // namespace sgm::qemu
