// SPDX-License-Identifier: MIT
// What the owner gets for a query: rows, or one sentence why there are none. Never an empty list
// in the place of a reason.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "wire/owner.hpp"

namespace sgm::ids {

// The list, or why it could not be read (at most 127 bytes are told).
using ProcessList = std::expected<std::vector<wire::ProcessRow>, std::string>;

// The payload of an OwnerKind::answer to the query of this id. `hypervisor_clock` in ns. Of a list
// that one message cannot hold the first rows are sent, and how many there are.
[[nodiscard]] std::vector<std::uint8_t> process_answer(std::uint64_t query,
                                                       std::uint64_t hypervisor_clock,
                                                       const ProcessList& processes);

}  // namespace sgm::ids
