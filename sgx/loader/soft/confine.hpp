// SPDX-License-Identifier: MIT
// What the monitor gives up before it looks at a byte of an enclave file.
#pragma once

#include <string>

namespace sgm::sgx::soft {

// Empty namespaces and, with Landlock, no file at all, each where this kernel allows it. Raises the
// limit on locked memory first, which nobody may do afterwards. Returns what was done and what was
// not, and why: for the operator.
[[nodiscard]] std::string confine();

}  // namespace sgm::sgx::soft
