// SPDX-License-Identifier: MIT
// The driver's answers as sentences that say what to do.
#pragma once

#include <string>

namespace sgm::sgx::device {

enum class Step {
    open,            // /dev/sgx_enclave
    open_provision,  // /dev/sgx_provision
    provision,       // SGX_IOC_ENCLAVE_PROVISION
    create,          // SGX_IOC_ENCLAVE_CREATE: ECREATE
    add,             // SGX_IOC_ENCLAVE_ADD_PAGES: EADD, EEXTEND
    init,            // SGX_IOC_ENCLAVE_INIT: EINIT
    map,             // mmap of the enclave's pages
};

// `error`: an errno. What each means is in the kernel's arch/x86/kernel/cpu/sgx/ioctl.c (6.1).
[[nodiscard]] std::string explain(Step step, int error);

}  // namespace sgm::sgx::device
