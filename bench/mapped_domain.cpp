// SPDX-License-Identifier: MIT
#include "bench/mapped_domain.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace sgm::bench {
namespace {

constexpr std::size_t kWindow = 256;  // pages

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
    unmap();
}

MappedDomain::MappedDomain(MappedDomain&& other) noexcept
    : privcmd_{std::move(other.privcmd_)},
      domid_{other.domid_},
      range_{other.range_},
      searched_{other.searched_},
      window_{std::exchange(other.window_, {})} {}

wire::RamRange MappedDomain::populated(std::uint64_t start, std::uint64_t end) {
    start = std::max(start, searched_.start);
    end = std::min(end, searched_.start + searched_.size);
    for (std::uint64_t page = start / kPage; page * kPage < end; ++page) {
        if (!find(page)) continue;
        const std::uint64_t from = std::max(start, page * kPage);
        return {.start = from, .size = std::min(end, (page + 1) * kPage) - from};
    }
    return {.start = std::max(start, end), .size = 0};
}

bool MappedDomain::read(std::uint64_t physical, MutableBytes out) {
    while (!out.empty()) {
        const std::uint64_t page = physical / kPage;
        const std::size_t offset = physical % kPage;
        const std::size_t size = std::min<std::size_t>(out.size(), kPage - offset);
        if (!keeps_window_) unmap();
        if (!find(page)) return false;
        std::memcpy(out.data(), window_.memory + (page - window_.first_page) * kPage + offset,
                    size);
        out = out.subspan(size);
        physical += size;
    }
    return true;
}

bool MappedDomain::find(std::uint64_t page) {
    const auto in_window = [&] {
        return window_.memory != nullptr && page >= window_.first_page &&
               page - window_.first_page < window_.errors.size();
    };
    if (!in_window() &&
        !map(keeps_window_ ? page / kWindow * kWindow : page, keeps_window_ ? kWindow : 1)) {
        return false;
    }
    return window_.errors[page - window_.first_page] == 0;
}

bool MappedDomain::map(std::uint64_t first_page, std::size_t count) {
    unmap();
    void* const memory = ::mmap(nullptr, count * kPage, PROT_READ, MAP_SHARED, privcmd_.get(), 0);
    if (memory == MAP_FAILED) return false;
    window_ = {.first_page = first_page,
               .memory = static_cast<std::uint8_t*>(memory),
               .errors = std::vector<int>(count, -EINVAL)};
    std::vector<std::uint64_t> frames(count);
    for (std::size_t i = 0; i < count; ++i)
        frames[i] = first_page + i;
    MmapBatch batch{.count = static_cast<std::uint32_t>(count),
                    .domid = static_cast<std::uint16_t>(domid_),
                    .padding = 0,
                    .address = reinterpret_cast<std::uint64_t>(memory),
                    .frames = frames.data(),
                    .errors = window_.errors.data()};
    ++maps_;
    // -ENOENT: some pages are paged out; the others are there, and each has its error.
    const bool done = ::ioctl(privcmd_.get(), kIoctlMmapBatch, &batch) == 0 || errno == ENOENT;
    if (!done) unmap();
    refused_ +=
        done ? static_cast<std::uint64_t>(std::ranges::count(window_.errors, -EPERM)) : count;
    return done;
}

void MappedDomain::unmap() {
    if (window_.memory != nullptr) ::munmap(window_.memory, window_.errors.size() * kPage);
    window_ = {};
}

}  // namespace sgm::bench
