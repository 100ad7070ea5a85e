// SPDX-License-Identifier: MIT
// `walk`: a linked list of the guest's kernel, many fields of each node, in one operation.
#pragma once

#include <array>

#include "hypervisor/core/memory.hpp"
#include "hypervisor/core/op_result.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// What is asked for of each node, checked.
using WalkFields = std::array<wire::FieldPath, wire::kMaxWalkFields>;

// Rows are written until the list ends, faults, closes on itself, or max_nodes, the room or the
// budget is used up. No node has two rows when a cycle is reported.
[[nodiscard]] OpResult walk(Memory& memory, Bytes arguments, WalkFields& fields, MutableBytes room);

}  // namespace sgm::hypervisor
