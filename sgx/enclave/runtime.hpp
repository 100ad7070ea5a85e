// SPDX-License-Identifier: MIT
// What the runtime is to the program in the enclave, and what the program must define.
#pragma once

#include "sgx/image/layout.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm {

// The program. Called for EcallNumber::run, on a fresh stack, by as many threads at a time as the
// signer allowed and the host wants: a program that is one thread's must refuse the second itself.
// `start` is the enclave's own copy:
// its ring, frame and buffer lie wholly outside the enclave and the buffer has a sane size; all
// its other values are still the host's word.
[[nodiscard]] wire::EnclaveResult enclave_main(const wire::StartInfo& start);

namespace enclave {

// Filled in at signing and part of MRENCLAVE; until then its magic stands over zeros.
[[nodiscard]] const wire::MeasuredConfig& measured_config();

[[nodiscard]] const sgx::EnclaveLayout& layout();

// The heap has a reserve, an eighth of it and at most 4 MiB. True: it is in use, so whoever can
// give something back should, and ask again. Ask once in a while: asking is what fills it up again.
[[nodiscard]] bool memory_is_short();

// Called once, on whatever thread it is and however deep, when an allocation has failed for good:
// the last that the program does before the enclave ends with EnclaveResult::out_of_memory. It has
// 64 KiB of heap that were kept back for it. One for all threads; the last one given counts.
void set_last_words(void (*say)(void* argument), void* argument);

// Leaves the enclave for good. Nothing is cleaned up: the host sees the reason and no register.
[[noreturn]] void abort(wire::EnclaveResult reason);

}  // namespace enclave
}  // namespace sgm
