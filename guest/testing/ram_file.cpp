// SPDX-License-Identifier: MIT
#include "guest/testing/ram_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

namespace sgm::guest::testing {
namespace {

constexpr std::uint64_t k4G = std::uint64_t{1} << 32;

// QEMU hw/i386/pc_q35.c, pc_q35_init: what does not fit below the PCI hole.
std::uint64_t q35_below_4g(std::uint64_t size) {
    return size >= 0xb000'0000 ? 0x8000'0000 : 0xb000'0000;
}

}  // namespace

std::unique_ptr<RamFile> RamFile::open(const std::string& path,
                                       std::optional<std::uint64_t> below_4g) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status{};
    if (file < 0 || ::fstat(file, &status) != 0) {
        std::fprintf(stderr, "cannot open the RAM file %s: %s\n", path.c_str(),
                     std::strerror(errno));
        if (file >= 0) ::close(file);
        return nullptr;
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    return std::unique_ptr<RamFile>{new RamFile{file, size, below_4g.value_or(q35_below_4g(size))}};
}

RamFile::RamFile(int file, std::uint64_t size, std::uint64_t below_4g)
    : file_{file}, below_4g_{std::min(size, below_4g)} {
    ranges_.push_back({.start = 0, .size = below_4g_});
    if (size > below_4g_) ranges_.push_back({.start = k4G, .size = size - below_4g_});
}

RamFile::~RamFile() {
    ::close(file_);
}

// Both stay inside one range, so a distance in memory is the same distance in the file.
wire::RamRange RamFile::populated(std::uint64_t start, std::uint64_t end) {
    const std::uint64_t shift = start >= k4G ? k4G - below_4g_ : 0;
    const off_t data = ::lseek(file_, static_cast<off_t>(start - shift), SEEK_DATA);
    if (data < 0) return {.start = end, .size = 0};
    const off_t hole = ::lseek(file_, data, SEEK_HOLE);
    const std::uint64_t from = static_cast<std::uint64_t>(data) + shift;
    const std::uint64_t to = std::min(end, static_cast<std::uint64_t>(hole) + shift);
    return from < to ? wire::RamRange{.start = from, .size = to - from}
                     : wire::RamRange{.start = end, .size = 0};
}

// pread, not mmap: looking at a hole of a tmpfs file through a mapping would fill it.
bool RamFile::read(std::uint64_t physical, MutableBytes out) {
    const std::uint64_t at = physical >= k4G ? physical - k4G + below_4g_ : physical;
    return ::pread(file_, out.data(), out.size(), static_cast<off_t>(at)) ==
           static_cast<ssize_t>(out.size());
}

std::uint64_t RamFilePort::now_ns() {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                      std::chrono::nanoseconds{1});
}

}  // namespace sgm::guest::testing
