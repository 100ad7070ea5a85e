// SPDX-License-Identifier: MIT
// libsodium's public-key operations, remembered. Most cases make the same keys, sign and verify the
// same bytes, because they draw the same randomness; each operation is carried out once for each
// input and its result given again for the same input, byte for byte.
#pragma once

namespace sgm::relay {

// From here on, in this process and those it forks. The linker puts this in libsodium's place
// (CMakeLists.txt); before the call every operation is carried out.
void remember_public_key_operations();

}  // namespace sgm::relay
