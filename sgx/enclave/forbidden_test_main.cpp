// SPDX-License-Identifier: MIT
// The program of the enclave in forbidden_test.S. Never run.
#include "sgx/enclave/runtime.hpp"

sgm::wire::EnclaveResult sgm::enclave_main(const wire::StartInfo&) {
    return wire::EnclaveResult::ok;
}
