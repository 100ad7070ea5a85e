// SPDX-License-Identifier: MIT
#include "guest/testing/ram_file.hpp"

#include <algorithm>

namespace sgm::guest::testing {
namespace {

constexpr std::uint64_t k4G = std::uint64_t{1} << 32;

// QEMU hw/i386/pc_q35.c, pc_q35_init: what does not fit below the PCI hole.
std::uint64_t q35_below_4g(std::uint64_t size) {
    return size >= 0xb000'0000 ? 0x8000'0000 : 0xb000'0000;
}

}  // namespace

RamFile::RamFile(std::unique_ptr<qemu::MemoryFile> file, std::optional<std::uint64_t> below_4g)
    : file_{std::move(file)} {
    const std::uint64_t size = file_->size();
    const std::uint64_t below = std::min(size, below_4g.value_or(q35_below_4g(size)));
    ranges_.push_back({.start = 0, .size = below});
    if (size > below) ranges_.push_back({.start = k4G, .size = size - below});
    for (const wire::RamRange& range : ranges_)
        direct_ranges_.push_back({.range = range,
                                  .memory = file_->memory() + (range.start - shift(range.start)),
                                  .populated = file_->known_data(),
                                  .first_page = (range.start - shift(range.start)) / 4096});
}

std::uint64_t RamFile::shift(std::uint64_t physical) const {
    return physical >= k4G ? k4G - ranges_.front().size : 0;
}

// Both ends lie in one range, so a distance in memory is the same distance in the file.
wire::RamRange RamFile::populated(std::uint64_t start, std::uint64_t end) {
    const auto extent = file_->populated(start - shift(start), end - shift(start));
    return {.start = extent.start + shift(start), .size = extent.size};
}

bool RamFile::read(std::uint64_t physical, MutableBytes out) {
    return file_->read(physical - shift(physical), out);
}

}  // namespace sgm::guest::testing
