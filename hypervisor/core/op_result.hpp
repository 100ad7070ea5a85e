// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// Status and length of one operation's result, which stands at the front of the room it was given.
struct OpResult {
    wire::OpStatus status;
    std::size_t size = 0;
};

}  // namespace sgm::hypervisor
