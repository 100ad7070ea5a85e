// SPDX-License-Identifier: MIT
// Known answers, asked for once when Xen boots: cryptography that does not give them is not used.
#pragma once

namespace sgm::xen {

[[nodiscard]] bool cryptography_gives_known_answers();

}  // namespace sgm::xen
