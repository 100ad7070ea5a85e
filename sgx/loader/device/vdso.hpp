// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string_view>

namespace sgm::sgx::device {

// The address of a function of the vDSO that the kernel mapped at `vdso` (AT_SYSINFO_EHDR); 0 when
// it has none of that name. The image is the kernel's own: its form is believed.
[[nodiscard]] std::uint64_t vdso_symbol(std::uint64_t vdso, std::string_view name);

}  // namespace sgm::sgx::device
