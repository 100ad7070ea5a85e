// SPDX-License-Identifier: MIT
// The VM that is looked at, and what the IDS asks about it: every operation, in small batches, over
// three sessions of which each renews the one before.
#pragma once

#include <vector>

#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "ids/testing/world.hpp"
#include "tests/relay/leaks.hpp"

namespace sgm::relay {

using ids::testing::Message;

struct Step {
    bool registers_anew;  // otherwise it sends `batch`
    Message batch;
};

// Writes what the steps look at; `leaks` learns all of it, and all addresses.
void furnish(hypervisor::testing::SyntheticGuest& guest, Leaks& leaks);

// The first step registers.
[[nodiscard]] std::vector<Step> conversation(const hypervisor::testing::SyntheticGuest& guest);

}  // namespace sgm::relay
