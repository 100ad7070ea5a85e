// SPDX-License-Identifier: MIT
// Known answers, asked for once when Xen boots: cryptography that does not give them is not used.
#pragma once

#include <cstdint>

namespace sgm::xen {

// `fault`: bits that flip in what AES-GCM computed, as on a CPU that is broken; for tests.
[[nodiscard]] bool cryptography_gives_known_answers(std::uint8_t fault = 0);

}  // namespace sgm::xen
