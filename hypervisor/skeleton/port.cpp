// SPDX-License-Identifier: MIT
#include "hypervisor/skeleton/port.hpp"

namespace sgm::skeleton {

wire::RamRange SkeletonDomain::populated(std::uint64_t, std::uint64_t end) {
    return {end, 0};
}

bool SkeletonDomain::read(std::uint64_t, MutableBytes) {
    return false;
}

std::optional<wire::Registers> SkeletonDomain::registers(std::uint32_t) {
    return std::nullopt;
}

}  // namespace sgm::skeleton
