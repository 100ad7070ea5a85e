// SPDX-License-Identifier: MIT
#include "hypervisor/xen/testing/fake_xen.hpp"

#include <algorithm>
#include <deque>

#include "hypervisor/xen/shim.h"

using sgm::hypervisor::testing::SyntheticGuest;
using sgm::xen::testing::fake_xen;

struct domain {
    SyntheticGuest* guest;
    int references = 0;
    int pauses = 0;
    bool is_dying = false;
};

namespace {

std::deque<domain> domains;
std::string first_complaint;
bool in_vector_code = false;

// Every use of a domain, but for giving it back.
void check_use(const domain* d) {
    if (d->references <= 0) fake_xen().complain("a domain is used without a reference");
    if (in_vector_code) fake_xen().complain("Xen is called between vector_begin and vector_end");
}

bool is_ram(const SyntheticGuest& guest, std::uint64_t address, std::uint64_t size) {
    return std::ranges::any_of(guest.ram_ranges(), [=](const sgm::wire::RamRange& range) {
        return address >= range.start && address - range.start < range.size &&
               size <= range.size - (address - range.start);
    });
}

}  // namespace

namespace sgm::xen::testing {

FakeXen& fake_xen() {
    static FakeXen xen;
    return xen;
}

void FakeXen::reset(std::vector<SyntheticGuest*> guests) {
    domains.clear();
    for (SyntheticGuest* const guest : guests)
        domains.push_back({.guest = guest});
    first_complaint.clear();
    in_vector_code = false;
    clock_ns = 1'000'000'000;
    clock_step_ns = 0;
}

void FakeXen::destroy(const SyntheticGuest& guest) {
    for (domain& d : domains)
        d.is_dying = d.is_dying || d.guest == &guest;
}

int FakeXen::references() const {
    int sum = 0;
    for (const domain& d : domains)
        sum += d.references;
    return sum;
}

int FakeXen::pauses() const {
    int sum = 0;
    for (const domain& d : domains)
        sum += d.pauses;
    return sum;
}

std::string FakeXen::complaint(bool after_a_call) const {
    if (!first_complaint.empty() || !after_a_call) return first_complaint;
    if (references() != 0) return "a reference to a domain is kept";
    if (pauses() != 0) return "a domain stays paused";
    if (in_vector_code) return "vector registers are not given back";
    return {};
}

void FakeXen::complain(std::string what) {
    if (first_complaint.empty()) first_complaint = std::move(what);
}

}  // namespace sgm::xen::testing

extern "C" {

uint64_t sgm_xen_now_ns() {
    return fake_xen().clock_ns += fake_xen().clock_step_ns;
}

void sgm_xen_vector_begin() {
    if (in_vector_code) fake_xen().complain("vector_begin is nested");
    in_vector_code = true;
}

void sgm_xen_vector_end() {
    if (!in_vector_code) fake_xen().complain("vector_end without vector_begin");
    in_vector_code = false;
}

struct domain* sgm_xen_find(const uint8_t* uuid) {
    for (domain& d : domains) {
        if (d.is_dying || !std::ranges::equal(d.guest->uuid(), std::span{uuid, 16})) continue;
        ++d.references;
        return &d;
    }
    return nullptr;
}

void sgm_xen_release(struct domain* d) {
    if (d->references-- <= 0) fake_xen().complain("a reference is given back twice");
}

void sgm_xen_describe(struct domain* d, struct sgm_xen_domain_info* info) {
    check_use(d);
    const auto last = d->guest->ram_ranges().back();
    *info = {.epoch = d->guest->epoch(),
             .end = last.start + last.size,
             .vcpu_count = d->guest->vcpu_count(),
             .is_gone = d->is_dying ? 1u : 0u,
             .is_protected = 0,
             .physical_bits = d->guest->address_format().physical_bits};
}

int sgm_xen_read(struct domain* d, uint64_t address, void* out, uint32_t size) {
    check_use(d);
    if (size == 0 || size > 4096 - address % 4096)
        fake_xen().complain("a read does not lie in one page");
    if (d->is_dying || !is_ram(*d->guest, address, size)) return -1;
    return d->guest->read(address, {static_cast<uint8_t*>(out), size}) ? 0 : -1;
}

struct sgm_xen_stretch sgm_xen_populated(struct domain* d, uint64_t start, uint64_t end) {
    check_use(d);
    if (start > end) fake_xen().complain("a stretch ends before it begins");
    const auto range = d->guest->populated(start, end);
    return {.start = range.start, .size = range.size};
}

int sgm_xen_read_registers(struct domain* d, uint32_t vcpu, struct sgm_xen_registers* out) {
    check_use(d);
    const auto from = d->guest->registers(vcpu);
    if (!from) return -1;
    *out = {.valid = from->valid,
            .cr0 = from->cr0,
            .cr3 = from->cr3,
            .cr4 = from->cr4,
            .efer = from->efer,
            .lstar = from->lstar,
            .cstar = from->cstar,
            .sysenter_eip = from->sysenter_eip,
            .idt_base = from->idt_base,
            .idt_limit = from->idt_limit,
            .gdt_base = from->gdt_base,
            .gdt_limit = from->gdt_limit,
            .rip = from->rip};
    return 0;
}

int sgm_xen_pause(struct domain* d) {
    check_use(d);
    if (!d->guest->hold()) return -1;
    ++d->pauses;
    return 0;
}

void sgm_xen_unpause(struct domain* d) {
    check_use(d);
    if (d->pauses-- <= 0) fake_xen().complain("a domain is let go that was not paused");
    static_cast<void>(d->guest->release());
}

}  // extern "C"
