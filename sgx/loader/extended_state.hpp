// SPDX-License-Identifier: MIT
// Which extended state this machine has for an enclave. Only whether one runs fast, or at all,
// hangs on it: what an enclave believes is its own report.
#pragma once

#include <cpuid.h>

#include <cstdint>

#include "sgx/image/arch.hpp"

namespace sgm::sgx {

// XCR0: the state components that the kernel has switched on.
inline std::uint64_t enabled_xfrm() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return std::uint64_t{high} << 32 | low;
}

// Whether the CPU has what IPSec_MB's widest AES-GCM takes (its IMB_CPUFLAGS_AVX512_T2): an enclave
// that is given AVX-512's state uses it (crypto/wide_aes.hpp).
inline bool has_wide_aes() {
    constexpr std::uint32_t kEbx =
        bit_AVX512F | bit_AVX512DQ | bit_AVX512IFMA | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
    constexpr std::uint32_t kEcx = bit_VAES | bit_VPCLMULQDQ | bit_GFNI;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & kEbx) == kEbx && (c & kEcx) == kEcx;
}

// Of `available` what an enclave should be given where its signature leaves it open.
inline std::uint64_t useful_xfrm(std::uint64_t available) {
    return has_wide_aes() ? available : available & ~kXfrmAvx512;
}

}  // namespace sgm::sgx
