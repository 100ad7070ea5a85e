// SPDX-License-Identifier: MIT
// Into an enclave and out of it, through the vDSO.
#pragma once

#include <cstdint>

#include "sgx/loader/device/driver.hpp"

namespace sgm::sgx::device {

// The registers that carry values across EENTER and EEXIT.
struct Crossing {
    std::uint64_t rdi;  // 0   enter.S knows these offsets
    std::uint64_t rsi;  // 8
    std::uint64_t rdx;  // 16
};

// How a thread came out.
struct Exit {
    enum class Kind {
        eexit,          // the enclave left; the Crossing has its registers
        exception,      // a fault inside: the asynchronous exit went to the vDSO
        entry_refused,  // EENTER itself faulted: the TCS is busy or none
        memory_lost,    // the CPU has lost the enclave's memory
        unusable,       // the vDSO refused the call
    };
    Kind kind;
    std::uint16_t vector;      // of the exception: 6 #UD, 13 #GP, 14 #PF, ...
    std::uint16_t error_code;  // the CPU's, for #PF and #GP
    std::uint64_t address;     // #PF: what was accessed; within the enclave only its page
};

// Interrupts are not seen here: the vDSO's asynchronous exit pointer is an ENCLU[ERESUME].
[[nodiscard]] Exit enter(vdso_sgx_enter_enclave_t function, std::uint64_t tcs, Crossing& crossing);

}  // namespace sgm::sgx::device
