// SPDX-License-Identifier: MIT
// `search`: where a pattern begins in populated guest-physical memory.
#pragma once

#include <array>
#include <cstdint>

#include "hypervisor/core/memory.hpp"
#include "hypervisor/core/op_result.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// A page of memory and as much of the next as a match that begins at its end needs.
using SearchWindow = std::array<std::uint8_t, kPageSize + wire::kMaxPatternSize>;

// A match begins in populated RAM in [start, end). It may reach beyond `end`, so that two adjoining
// searches find what one would.
[[nodiscard]] OpResult search(Memory& memory, Bytes arguments, SearchWindow& window,
                              MutableBytes room);

}  // namespace sgm::hypervisor
