// SPDX-License-Identifier: MIT
// The same random bytes in every run: every key of every party comes from the number of the case.
#pragma once

#include <cstdint>

namespace sgm::relay {

// Takes the place of the kernel's source, for this process. Before anything else of crypto/.
void make_randomness_repeatable();

// What follows depends on `number` alone.
void begin_randomness(std::uint64_t number);

}  // namespace sgm::relay
