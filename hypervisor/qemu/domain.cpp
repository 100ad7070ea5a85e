// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/domain.hpp"

#include <time.h>

#include <algorithm>

#include "hypervisor/qemu/registers.hpp"

namespace sgm::qemu {

std::uint64_t boottime_ns() {
    // CLOCK_BOOTTIME: sleep of the machine counts, or lifetimes would grow by it.
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

QemuDomain::QemuDomain(DomainSettings settings, std::uint64_t epoch, ContinueGuard* guard,
                       Clock clock)
    : uuid_{settings.uuid}, clock_{std::move(clock)}, link_{std::move(settings), epoch, guard} {}

config::Result<void> QemuDomain::attach() {
    auto result = link_.attach();
    refresh();
    return result;
}

void QemuDomain::refresh() {
    attachment_ = link_.attachment();
    registers_.reset();
    if (attachment_ == nullptr) return;
    for (const auto& file : attachment_->files)
        file->forget_when_old();
}

std::uint64_t QemuDomain::ram_size() const {
    std::uint64_t size = 0;
    for (const wire::RamRange& range : ram_ranges())
        size += range.size;
    return size;
}

std::uint32_t QemuDomain::vcpu_count() const {
    return attachment_ ? attachment_->vcpu_count : 0;
}

std::span<const wire::RamRange> QemuDomain::ram_ranges() const {
    return attachment_ ? std::span<const wire::RamRange>{attachment_->ranges}
                       : std::span<const wire::RamRange>{};
}

std::span<const hypervisor::DirectRange> QemuDomain::direct_ranges() {
    return attachment_ ? std::span<const hypervisor::DirectRange>{attachment_->direct}
                       : std::span<const hypervisor::DirectRange>{};
}

bool QemuDomain::is_cut_short() const {
    return attachment_ && std::ranges::any_of(attachment_->files,
                                              [](const auto& file) { return file->is_lost(); });
}

wire::Readability QemuDomain::readability() const {
    if (!attachment_ || is_cut_short()) return wire::Readability::gone;
    return attachment_->readability;
}

std::string QemuDomain::reason() const {
    if (!attachment_) return link_.why_gone();
    return is_cut_short() ? "its memory file was cut short" : attachment_->reason;
}

QemuDomain::Place QemuDomain::place_of(std::uint64_t physical, std::uint64_t size) const {
    if (!attachment_) return {};
    for (const MappedRange& range : attachment_->map) {
        if (physical >= range.start && physical - range.start < range.size &&
            size <= range.size - (physical - range.start)) {
            return {attachment_->files[range.block].get(), physical - range.start + range.offset};
        }
    }
    return {};
}

wire::RamRange QemuDomain::populated(std::uint64_t start, std::uint64_t end) {
    if (start >= end) return {end, 0};
    // As much as lies in one range; the caller asks again for the rest.
    for (const wire::RamRange& range : ram_ranges()) {
        const std::uint64_t from = std::max(start, range.start);
        const std::uint64_t to = std::min(end, range.start + range.size);
        if (from >= to) continue;
        const Place place = place_of(from, to - from);
        if (place.file == nullptr) continue;
        const auto extent = place.file->populated(place.offset, place.offset + (to - from));
        if (extent.size != 0) return {extent.start - place.offset + from, extent.size};
    }
    return {end, 0};
}

bool QemuDomain::read(std::uint64_t physical, MutableBytes out) {
    const Place place = place_of(physical, out.size());
    return place.file != nullptr && place.file->read(place.offset, out);
}

std::optional<wire::Registers> QemuDomain::registers(std::uint32_t vcpu) {
    if (!registers_) {
        const std::int64_t start = now();
        if (!attachment_ || !waiting_.may_use(start)) return std::nullopt;
        registers_ = link_.registers();
        waiting_.used(now() - start);
    }
    return registers_ ? parse_registers(*registers_, vcpu) : std::nullopt;
}

bool QemuDomain::hold() {
    const std::int64_t start = now();
    if (!attachment_ || !holding_.may_use(start) || !waiting_.may_use(start)) return false;
    const bool held = link_.hold();
    registers_.reset();
    const std::int64_t end = now();
    waiting_.used(end - start);
    if (held) {
        held_since_ = start;
    } else {
        holding_.used(end - start);
    }
    return held;
}

bool QemuDomain::release() {
    const std::int64_t start = now();
    const bool whole = link_.release();
    const std::int64_t end = now();
    waiting_.used(end - start);
    holding_.used(end - held_since_.value_or(start));
    held_since_.reset();
    return whole;
}

}  // namespace sgm::qemu
