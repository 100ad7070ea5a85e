// SPDX-License-Identifier: MIT
#include "bench/mapped_domain.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace sgm::bench {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kWindow = 16;  // pages

// include/uapi/xen/privcmd.h, which cannot be included: it wants Xen's own headers.
struct MmapBatch {
    std::uint32_t count;
    std::uint16_t domid;
    std::uint16_t padding;
    std::uint64_t address;
    const std::uint64_t* frames;
    int* errors;
};
constexpr unsigned long kIoctlMmapBatch = _IOC(_IOC_NONE, 'P', 4, sizeof(MmapBatch));

}  // namespace

config::Result<MappedDomain> MappedDomain::open(std::uint32_t domid, std::uint64_t size) {
    config::Descriptor privcmd{::open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC)};
    if (!privcmd) {
        return std::unexpected{
            config::Error{fmt::format("/dev/xen/privcmd: {}", std::strerror(errno))}};
    }
    return MappedDomain{std::move(privcmd), domid, size};
}

MappedDomain::~MappedDomain() {
    unmap_all();
}

MappedDomain::MappedDomain(MappedDomain&& other) noexcept
    : privcmd_{std::move(other.privcmd_)},
      domid_{other.domid_},
      range_{other.range_},
      searched_{std::move(other.searched_)},
      windows_{std::exchange(other.windows_, {})} {}

void MappedDomain::keep_mappings(bool keep) {
    keeps_ = keep;
    unmap_all();
}

wire::RamRange MappedDomain::populated(std::uint64_t start, std::uint64_t end) {
    for (const wire::RamRange& range : searched_) {
        const std::uint64_t range_end = std::min(end, range.start + range.size);
        for (std::uint64_t at = std::max(start, range.start); at < range_end;) {
            const std::uint64_t page_end = std::min(range_end, (at / kPage + 1) * kPage);
            if (find(at / kPage) != nullptr) return {.start = at, .size = page_end - at};
            at = page_end;
        }
    }
    return {.start = end, .size = 0};
}

bool MappedDomain::read(std::uint64_t physical, MutableBytes out) {
    while (!out.empty()) {
        const std::size_t offset = physical % kPage;
        const std::size_t size = std::min<std::size_t>(out.size(), kPage - offset);
        const std::uint8_t* const page = find(physical / kPage);
        if (page == nullptr) return false;
        std::memcpy(out.data(), page + offset, size);
        if (!keeps_) unmap_all();
        out = out.subspan(size);
        physical += size;
    }
    return true;
}

const std::uint8_t* MappedDomain::find(std::uint64_t page) {
    const std::size_t count = keeps_ ? kWindow : 1;
    const std::uint64_t first = page / count * count;
    auto found = windows_.find(first);
    if (found == windows_.end()) found = windows_.emplace(first, map(first, count)).first;
    const Window& window = found->second;
    if (window.memory == nullptr || window.errors[page - first] != 0) return nullptr;
    return window.memory + (page - first) * kPage;
}

MappedDomain::Window MappedDomain::map(std::uint64_t first_page, std::size_t count) {
    void* const memory = ::mmap(nullptr, count * kPage, PROT_READ, MAP_SHARED, privcmd_.get(), 0);
    if (memory == MAP_FAILED) return {};
    Window window{.memory = static_cast<std::uint8_t*>(memory),
                  .errors = std::vector<int>(count, -EINVAL)};
    std::vector<std::uint64_t> frames(count);
    std::iota(frames.begin(), frames.end(), first_page);
    MmapBatch batch{.count = static_cast<std::uint32_t>(count),
                    .domid = static_cast<std::uint16_t>(domid_),
                    .padding = 0,
                    .address = reinterpret_cast<std::uint64_t>(memory),
                    .frames = frames.data(),
                    .errors = window.errors.data()};
    ++maps_;
    // -ENOENT: some pages are paged out; the others are there, and each has its error.
    const bool done = ::ioctl(privcmd_.get(), kIoctlMmapBatch, &batch) == 0 || errno == ENOENT;
    refused_ +=
        done ? static_cast<std::uint64_t>(std::ranges::count(window.errors, -EPERM)) : count;
    if (done) return window;
    ::munmap(memory, count * kPage);
    return {};
}

void MappedDomain::unmap_all() {
    for (const auto& [first, window] : windows_)
        if (window.memory != nullptr) ::munmap(window.memory, window.errors.size() * kPage);
    windows_.clear();
}

}  // namespace sgm::bench
