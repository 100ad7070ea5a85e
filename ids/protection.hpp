// SPDX-License-Identifier: MIT
// Whether the hypervisor keeps the host out of the VM, as the hypervisor says it: in a sealed
// answer of this session, so that the host can withhold it and do no more.
#pragma once

#include "guest/memory.hpp"

namespace sgm::ids {

// What holds now. A domain that is protected stays so for as long as the session's epoch lasts.
[[nodiscard]] inline wire::Protection ask_for_protection(guest::Memory& memory) {
    const auto description = memory.describe();
    return description ? description->result.protection : wire::Protection::unknown;
}

}  // namespace sgm::ids
