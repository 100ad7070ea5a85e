// SPDX-License-Identifier: MIT
// The files that a benchmark program expects beside itself.
#pragma once

#include <string_view>

namespace sgm::bench {

inline constexpr std::string_view kHypervisor = "sgmonitor-hypervisor";
inline constexpr std::string_view kUnsealedHypervisor = "bench-unsealed-hypervisor";
inline constexpr std::string_view kEnclave = "bench_enclave.elf";
inline constexpr std::string_view kUnsealedEnclave = "bench_unsealed_enclave.elf";

}  // namespace sgm::bench
