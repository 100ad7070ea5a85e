// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/port.hpp"

#include <time.h>

#include "crypto/random.hpp"

namespace sgm::qemu {

std::uint64_t QemuPort::now_ns() {
    // CLOCK_BOOTTIME: sleep of the machine counts, or lifetimes would grow by it.
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

bool QemuPort::random(MutableBytes out) {
    return crypto::random_bytes(out).has_value();
}

hypervisor::Domain* QemuPort::find(const wire::Uuid& uuid) {
    for (const auto& domain : domains_) {
        if (domain->uuid() != uuid) continue;
        domain->refresh();
        return domain.get();
    }
    return nullptr;
}

}  // namespace sgm::qemu
