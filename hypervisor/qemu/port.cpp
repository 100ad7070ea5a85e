// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/port.hpp"

#include <utility>

#include "crypto/random.hpp"

namespace sgm::qemu {

bool QemuPort::random(MutableBytes out) {
    return crypto::random_bytes(out).has_value();
}

std::unique_ptr<QemuDomain> QemuPort::add(std::unique_ptr<QemuDomain> domain) {
    current_ = nullptr;
    const wire::Uuid uuid = domain->uuid();
    return std::exchange(vms_[uuid].domain, std::move(domain));
}

std::unique_ptr<QemuDomain> QemuPort::remove(const wire::Uuid& uuid) {
    current_ = nullptr;
    const auto found = vms_.find(uuid);
    if (found == vms_.end()) return nullptr;
    auto domain = std::move(found->second.domain);
    vms_.erase(found);
    return domain;
}

void QemuPort::count(wire::Status status, std::size_t size) {
    Counts& counts = current_ != nullptr ? std::exchange(current_, nullptr)->counts : other_;
    ++counts.calls;
    counts.bytes += size;
    if (status != wire::Status::ok) ++counts.refusals[status];
}

std::vector<const QemuPort::Vm*> QemuPort::vms() const {
    std::vector<const Vm*> all;
    for (const auto& [uuid, vm] : vms_)
        all.push_back(&vm);
    return all;
}

QemuDomain* QemuPort::domain(const wire::Uuid& uuid) const {
    const auto found = vms_.find(uuid);
    return found == vms_.end() ? nullptr : found->second.domain.get();
}

hypervisor::Domain* QemuPort::find(const wire::Uuid& uuid) {
    const auto found = vms_.find(uuid);
    if (found == vms_.end()) return nullptr;
    // The first that a call asks for is the one that it is about.
    if (current_ == nullptr) current_ = &found->second;
    found->second.domain->refresh();
    return found->second.domain.get();
}

}  // namespace sgm::qemu
