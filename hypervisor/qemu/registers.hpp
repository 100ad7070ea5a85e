// SPDX-License-Identifier: MIT
// vCPU registers from QEMU's `info registers -a`.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "wire/sgm_op.hpp"

namespace sgm::qemu {

// What the text says of one vCPU; `valid` tells what was there. The system call registers (LSTAR,
// CSTAR, SYSENTER) are not part of it. nullopt when nothing is said of that vCPU.
[[nodiscard]] std::optional<wire::Registers> parse_registers(std::string_view text,
                                                             std::uint32_t vcpu);

}  // namespace sgm::qemu
