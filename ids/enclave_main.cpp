// SPDX-License-Identifier: MIT
// The IDS in its enclave.
#include "ids/enclave_environment.hpp"
#include "ids/watcher.hpp"
#include "sgx/enclave/runtime.hpp"

sgm::wire::EnclaveResult sgm::enclave_main(const wire::StartInfo& start) {
    auto environment = ids::enclave_environment(start);
    if (!environment) return wire::EnclaveResult::bad_argument;
    return ids::watch(*environment, enclave::measured_config().authority_key, start.domain,
                      start.interval_ms);
}
