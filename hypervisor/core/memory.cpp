// SPDX-License-Identifier: MIT
#include "hypervisor/core/memory.hpp"

#include <algorithm>

namespace sgm::hypervisor {
namespace {

// Written so that no sum can wrap: `address` comes from the guest.
std::size_t bytes_inside(const wire::RamRange& range, std::uint64_t address, std::size_t size) {
    if (address < range.start || address - range.start >= range.size) return 0;
    return std::min<std::uint64_t>(size, range.size - (address - range.start));
}

std::size_t up_to_page_end(std::uint64_t address, std::size_t size) {
    return std::min<std::uint64_t>(size, kPageSize - address % kPageSize);
}

}  // namespace

std::size_t Memory::in_ram(std::uint64_t physical, std::size_t size) {
    if (const std::size_t inside = bytes_inside(last_range_, physical, size)) return inside;
    for (const wire::RamRange& range : domain_.ram_ranges()) {
        if (const std::size_t inside = bytes_inside(range, physical, size)) {
            last_range_ = range;
            return inside;
        }
    }
    return 0;
}

const std::uint8_t* Memory::direct_page(std::uint64_t physical) {
    // Below range.start the difference wraps, and is larger than any size.
    const auto holds = [physical](const DirectRange& direct) {
        return physical - direct.range.start < direct.range.size;
    };
    if (!holds(last_direct_)) {
        const auto found = std::ranges::find_if(direct_ranges_, holds);
        if (found == direct_ranges_.end()) return nullptr;
        last_direct_ = *found;
    }
    const std::uint64_t place = (physical - last_direct_.range.start) / kPageSize;
    const std::uint64_t bit = last_direct_.first_page + place;
    if (!is_populated(last_direct_.populated, bit)) return nullptr;
    return last_direct_.memory + place * kPageSize;
}

const std::uint8_t* Memory::view_new_page(std::uint64_t address) {
    const auto physical = translator_.translate(*this, views_.space(), address);
    const std::uint8_t* const page = physical ? direct_page(*physical) : nullptr;
    if (page == nullptr) return nullptr;
    views_.remember(address, page);
    // direct_page() has just found the range.
    const auto large = translator_.large_page(views_.space(), address);
    if (large && *large >= last_direct_.range.start && last_direct_.range.size >= kLargePageSize &&
        *large - last_direct_.range.start <= last_direct_.range.size - kLargePageSize) {
        views_.remember_large(address, *large, last_direct_);
    }
    return page + address % kPageSize;
}

bool Memory::read_new_page(std::uint64_t address, MutableBytes out) {
    const std::uint8_t* const from = view_new_page(address);
    if (from == nullptr || out.size() > kPageSize - address % kPageSize) {
        return read_virtual(views_.space(), address, out).complete();
    }
    budget_.spend_access();
    copy_live(from, out);
    return true;
}

std::size_t Memory::read_piece(std::uint64_t physical, MutableBytes out) {
    budget_.spend_access();
    if (const std::uint8_t* const page = direct_page(physical)) {
        copy_live(page + physical % kPageSize, out);
        return out.size();
    }
    const std::size_t readable = in_ram(physical, out.size());
    if (readable == 0 || !domain_.read(physical, out.first(readable))) return 0;
    return readable;
}

std::optional<std::uint64_t> Memory::word(std::uint64_t physical) {
    std::uint64_t value = 0;
    if (read_piece(physical, mutable_bytes_of(value)) != sizeof(value)) return std::nullopt;
    return value;
}

ReadOutcome Memory::read_physical(std::uint64_t address, MutableBytes out) {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::size_t wanted = up_to_page_end(address + done, out.size() - done);
        const std::size_t got = read_piece(address + done, out.subspan(done, wanted));
        done += got;
        if (got < wanted) {
            return {done, {address + done, wire::FaultKind::outside_ram, 0}};
        }
    }
    return {done, {}};
}

ReadOutcome Memory::read_virtual(const AddressSpace& space, std::uint64_t address,
                                 MutableBytes out) {
    std::size_t done = 0;
    while (done < out.size()) {
        const auto physical = translator_.translate(*this, space, address + done);
        if (!physical) return {done, physical.error()};
        const std::size_t wanted = up_to_page_end(address + done, out.size() - done);
        const std::size_t got = read_piece(*physical, out.subspan(done, wanted));
        done += got;
        if (got < wanted) {
            return {done, {address + done, wire::FaultKind::outside_ram, 0}};
        }
    }
    return {done, {}};
}

}  // namespace sgm::hypervisor
