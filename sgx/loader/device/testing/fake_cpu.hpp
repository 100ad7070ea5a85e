// SPDX-License-Identifier: MIT
// For tests: the CPU behind the fake driver. EENTER, ERESUME, EEXIT, the asynchronous exit,
// EREPORT, EGETKEY and EACCEPT happen in software, in this process, on the enclave's real code;
// SIGSEGV and its like are the exceptions, SIGUSR1 is an interrupt. What it cannot do is keep
// memory from anybody.
#pragma once

#include <asm/sgx.h>

#include <cstdint>

#include "sgx/loader/device/testing/fake_enclave.hpp"
#include "sgx/loader/soft/platform.hpp"

extern "C" {
// fake_vdso.S: keeps to the contract of __vdso_sgx_enter_enclave (arch/x86/entry/vdso/vsgx.S, 6.1),
// and leaves everything else in the worst state that the contract allows.
int sgm_fake_vdso_sgx_enter_enclave(unsigned long rdi, unsigned long rsi, unsigned long rdx,
                                    unsigned int function, unsigned long r8, unsigned long r9,
                                    sgx_enclave_run* run);
}

namespace sgm::sgx::device::testing {

// From EINIT on: its threads can be entered. Writes the word that turns the enclave's ENCLU to
// this CPU, which hardware never does.
void plug_in(FakeEnclave& enclave, std::uint64_t soft_enclu_offset,
             const soft::SoftPlatform& platform);
void unplug(const FakeEnclave& enclave);

// Asynchronous exits so far.
[[nodiscard]] std::uint64_t interrupts_taken();
[[nodiscard]] std::uint64_t exceptions_taken();

}  // namespace sgm::sgx::device::testing
