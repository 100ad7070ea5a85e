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

// Leaves the enclave for good. Nothing is cleaned up: the host sees the reason and no register.
[[noreturn]] void abort(wire::EnclaveResult reason);

}  // namespace enclave
}  // namespace sgm
