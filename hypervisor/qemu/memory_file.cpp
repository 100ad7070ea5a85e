// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/memory_file.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstring>

namespace sgm::qemu {
namespace {

constexpr std::uint64_t kPageSize = 4096;
constexpr std::chrono::seconds kForgetAfter{10};
// What populated() hands out at once, so that a search may stop in between.
constexpr std::uint64_t kStretch = 16u << 20;

// The size of the pages that it is made of.
config::Result<std::uint64_t> check_kind(int fd, const struct stat& status,
                                         const std::string& path) {
    if (!S_ISREG(status.st_mode) || status.st_size <= 0) {
        return std::unexpected{config::Error{fmt::format(
            "{} is not a VM's memory: name the file of a shared memory backend of QEMU", path)}};
    }
    struct statfs filesystem{};
    if (::fstatfs(fd, &filesystem) != 0) {
        return std::unexpected{config::Error{fmt::format("{}: {}", path, std::strerror(errno))}};
    }
    // Elsewhere holes cannot be told, and reading one would allocate it.
    const bool has_holes = status.st_blocks * 512 < status.st_size;
    if (filesystem.f_type != TMPFS_MAGIC && has_holes) {
        return std::unexpected{config::Error{
            fmt::format("{} is neither on tmpfs nor a memfd, and not fully allocated: give QEMU's "
                        "memory backend a file in /dev/shm, or prealloc=on",
                        path)}};
    }
    return filesystem.f_type == HUGETLBFS_MAGIC ? static_cast<std::uint64_t>(filesystem.f_bsize)
                                                : kPageSize;
}

}  // namespace

config::Result<std::unique_ptr<MemoryFile>> MemoryFile::open(const std::filesystem::path& path) {
    Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) {
        return std::unexpected{config::Error{fmt::format("cannot open the VM's memory {}: {}",
                                                         path.string(), std::strerror(errno))}};
    }
    return adopt(std::move(file), path.string());
}

config::Result<std::unique_ptr<MemoryFile>> MemoryFile::adopt(Descriptor file,
                                                              const std::string& name) {
    const auto failed = [&](std::string_view what) {
        return std::unexpected{config::Error{
            fmt::format("{} the VM's memory {}: {}", what, name, std::strerror(errno))}};
    };
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return failed("cannot look at");
    const auto page_size = check_kind(file.get(), status, name);
    if (!page_size) return std::unexpected{page_size.error()};
    const auto size = static_cast<std::uint64_t>(status.st_size);
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
    if (memory == MAP_FAILED) return failed("cannot map");
    // No page beyond the one that is asked for: it might be a hole.
    ::madvise(memory, size, MADV_RANDOM);
    ::madvise(memory, size, MADV_DONTDUMP);
    auto guard = BusGuard::watch(memory, size, *page_size);
    if (!guard) {
        ::munmap(memory, size);
        return std::unexpected{guard.error()};
    }
    return std::unique_ptr<MemoryFile>{new MemoryFile{
        std::move(file), static_cast<const std::uint8_t*>(memory), size, std::move(*guard)}};
}

MemoryFile::MemoryFile(Descriptor file, const std::uint8_t* memory, std::uint64_t size,
                       BusGuard guard)
    : file_{std::move(file)},
      memory_{memory},
      size_{size},
      guard_{std::move(guard)},
      known_data_(page_count() / 64 + 1) {
    const int seals = ::fcntl(file_.get(), F_GET_SEALS);
    may_shrink_ = seals < 0 || (seals & F_SEAL_SHRINK) == 0;
}

MemoryFile::~MemoryFile() {
    ::munmap(const_cast<std::uint8_t*>(memory_), size_);
}

bool MemoryFile::read(std::uint64_t offset, MutableBytes out) {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::uint64_t at = offset + done;
        const std::size_t size =
            std::min<std::uint64_t>(out.size() - done, kPageSize - at % kPageSize);
        std::uint8_t* to = &out[done];
        if (!is_populated(at / kPageSize)) {
            std::memset(to, 0, size);
        } else if (size == sizeof(std::uint64_t) && at % sizeof(std::uint64_t) == 0) {
            // A pointer that the guest is just writing is seen old or new, never half.
            const auto* word = reinterpret_cast<const std::uint64_t*>(memory_ + at);
            const std::uint64_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
            std::memcpy(to, &value, sizeof(value));
        } else {
            std::memcpy(to, memory_ + at, size);
        }
        done += size;
    }
    return !is_lost();
}

MemoryFile::Extent MemoryFile::populated(std::uint64_t start, std::uint64_t end) {
    std::uint64_t from = start;
    if (!is_known(start / kPageSize)) {
        const off_t data = ::lseek(file_.get(), static_cast<off_t>(start), SEEK_DATA);
        if (data < 0 || static_cast<std::uint64_t>(data) >= end) return {end, 0};
        const off_t hole = ::lseek(file_.get(), data, SEEK_HOLE);
        from = static_cast<std::uint64_t>(data);
        const auto data_end =
            std::clamp(static_cast<std::uint64_t>(hole < 0 ? data + 1 : hole), from + 1, size_);
        for (std::uint64_t page = from / kPageSize; page <= (data_end - 1) / kPageSize; ++page)
            mark_known(page);
    }
    const std::uint64_t limit = std::min(end, (from / kStretch + 1) * kStretch);
    std::uint64_t page = from / kPageSize + 1;
    while (page * kPageSize < limit && is_known(page))
        ++page;
    return {from, std::min(limit, page * kPageSize) - from};
}

bool MemoryFile::is_populated(std::uint64_t page) {
    if (is_known(page)) return true;
    // Only whether this page is data: SEEK_HOLE would go over all that follows it.
    const auto start = static_cast<off_t>(page * kPageSize);
    if (::lseek(file_.get(), start, SEEK_DATA) != start) {
        // What lies beyond the end is no hole, and not zeros.
        struct stat status{};
        if (may_shrink_ && (::fstat(file_.get(), &status) != 0 ||
                            static_cast<std::uint64_t>(status.st_size) < size_)) {
            cut_short_ = true;
        }
        return false;
    }
    mark_known(page);
    return true;
}

void MemoryFile::forget_when_old() {
    const auto now = std::chrono::steady_clock::now();
    if (now - known_since_ < kForgetAfter) return;
    std::ranges::fill(known_data_, 0);
    known_since_ = now;
}

}  // namespace sgm::qemu
