// SPDX-License-Identifier: MIT
#include "hypervisor/xen/port.hpp"

#include <algorithm>

#include "crypto/random.hpp"
#include "hypervisor/core/page_table.hpp"

namespace sgm::xen {
namespace {

// Xen does not preempt a hypercall: what takes longer is answered in parts. Softirqs are served
// meanwhile (shim.c).
constexpr std::uint64_t kMaxBatchNs = 50'000'000;

}  // namespace

void XenDomain::bind(::domain* domain, const wire::Uuid& uuid) {
    reset();
    domain_ = domain;
    uuid_ = uuid;
    sgm_xen_describe(domain_, &info_);
    // The shim knows which pages are the domain's; the core needs a bound.
    ram_ = {.start = 0, .size = info_.end};
}

void XenDomain::reset() {
    if (domain_ == nullptr) return;
    release();
    sgm_xen_release(domain_);
    domain_ = nullptr;
}

wire::Readability XenDomain::readability() const {
    sgm_xen_domain_info now;
    sgm_xen_describe(domain_, &now);
    return now.is_gone != 0 ? wire::Readability::gone : wire::Readability::readable;
}

wire::Protection XenDomain::protection() const {
    return info_.is_protected != 0 ? wire::Protection::protected_domain
                                   : wire::Protection::unprotected;
}

wire::RamRange XenDomain::populated(std::uint64_t start, std::uint64_t end) {
    const sgm_xen_stretch stretch = sgm_xen_populated(domain_, start, end);
    return {.start = stretch.start, .size = stretch.size};
}

bool XenDomain::read(std::uint64_t physical, MutableBytes out) {
    while (!out.empty()) {
        const std::size_t size = std::min<std::size_t>(
            out.size(), hypervisor::kPageSize - physical % hypervisor::kPageSize);
        if (sgm_xen_read(domain_, physical, out.data(), static_cast<std::uint32_t>(size)) != 0) {
            return false;
        }
        physical += size;
        out = out.subspan(size);
    }
    return true;
}

std::optional<wire::Registers> XenDomain::registers(std::uint32_t vcpu) {
    sgm_xen_registers from{};
    if (sgm_xen_read_registers(domain_, vcpu, &from) != 0) return std::nullopt;
    return wire::Registers{.valid = from.valid,
                           .cr0 = from.cr0,
                           .cr3 = from.cr3,
                           .cr4 = from.cr4,
                           .efer = from.efer,
                           .lstar = from.lstar,
                           .cstar = from.cstar,
                           .sysenter_eip = from.sysenter_eip,
                           .idt_base = from.idt_base,
                           .idt_limit = from.idt_limit,
                           .gdt_base = from.gdt_base,
                           .gdt_limit = from.gdt_limit,
                           .rip = from.rip};
}

bool XenDomain::hold() {
    if (!held_) held_ = sgm_xen_pause(domain_) == 0;
    return held_;
}

bool XenDomain::release() {
    if (!held_) return false;
    held_ = false;
    sgm_xen_unpause(domain_);
    return true;
}

std::uint64_t XenPort::max_batch_ns() const {
    return kMaxBatchNs;
}

bool XenPort::random(MutableBytes out) {
    return crypto::random_bytes(out).has_value();
}

hypervisor::Domain* XenPort::find(const wire::Uuid& uuid) {
    if (subject_.is_bound() && subject_.uuid() == uuid) return &subject_;
    ::domain* const found = sgm_xen_find(uuid.data());
    if (found == nullptr) return nullptr;
    XenDomain& place = subject_.is_bound() ? other_ : subject_;
    place.bind(found, uuid);
    return &place;
}

void XenPort::end_call() {
    other_.reset();
    subject_.reset();
}

}  // namespace sgm::xen
