// SPDX-License-Identifier: MIT
#include "sgx/loader/device/entry.hpp"

#include "sgx/image/arch.hpp"

extern "C" {
// enter.S
int sgm_device_enter(sgm::sgx::device::Crossing* crossing, sgx_enclave_run* run,
                     std::uint32_t function, vdso_sgx_enter_enclave_t vdso);
}

namespace sgm::sgx::device {
namespace {

constexpr std::uint16_t kPageFault = 14;
// Bit 15 of #PF's error code: SGX refused what the page tables allow (SDM vol. 3A, 4.7). Mappings
// here have the pages' own permissions, so this is no ordinary fault: the page is not in the EPC
// any more. Linux says so of sleep and hibernation (arch/x86/mm/fault.c, access_error, 6.1).
constexpr std::uint16_t kPageFaultSgx = 1 << 15;

// The registers of EEXIT reach C only here. 0 goes back to the caller of the vDSO.
int on_exit(long rdi, long rsi, long rdx, long, long, long, sgx_enclave_run* run) {
    if (run->function == static_cast<std::uint32_t>(Enclu::eexit)) {
        auto* crossing = reinterpret_cast<Crossing*>(run->user_data);
        crossing->rdi = static_cast<std::uint64_t>(rdi);
        crossing->rsi = static_cast<std::uint64_t>(rsi);
        crossing->rdx = static_cast<std::uint64_t>(rdx);
    }
    return 0;
}

}  // namespace

Exit enter(vdso_sgx_enter_enclave_t function, std::uint64_t tcs, Crossing& crossing) {
    sgx_enclave_run run{};
    run.tcs = tcs;
    run.user_handler = reinterpret_cast<std::uint64_t>(&on_exit);
    run.user_data = reinterpret_cast<std::uint64_t>(&crossing);
    const int result =
        sgm_device_enter(&crossing, &run, static_cast<std::uint32_t>(Enclu::eenter), function);
    Exit exit{.kind = Exit::Kind::unusable,
              .vector = run.exception_vector,
              .error_code = run.exception_error_code,
              .address = run.exception_addr};
    if (result != 0) return exit;
    switch (Enclu{run.function}) {
        case Enclu::eexit: exit.kind = Exit::Kind::eexit; return exit;
        // rax at the fault: what ENCLU was to do. An exception inside leaves ERESUME there.
        case Enclu::eenter: exit.kind = Exit::Kind::entry_refused; break;
        case Enclu::eresume: exit.kind = Exit::Kind::exception; break;
        default: return exit;
    }
    if (run.exception_vector == kPageFault && (run.exception_error_code & kPageFaultSgx) != 0)
        exit.kind = Exit::Kind::memory_lost;
    return exit;
}

}  // namespace sgm::sgx::device
