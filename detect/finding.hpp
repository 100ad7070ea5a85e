// SPDX-License-Identifier: MIT
// What a check has to say about the guest.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "wire/bytes.hpp"
#include "wire/owner.hpp"

namespace sgm::detect {

// The same for the same check and the same thing found, in every run of every IDS: what was raised
// clears under its own id, also after a restart. 63 bits of SHA-256, so that a guest that chooses
// its addresses cannot make two things look like one; bit 63 is left to findings that are not
// about the guest.
[[nodiscard]] std::uint64_t finding_id(std::string_view check, std::initializer_list<Bytes> thing);

}  // namespace sgm::detect
