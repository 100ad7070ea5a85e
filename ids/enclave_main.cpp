// SPDX-License-Identifier: MIT
// The IDS in its enclave.
#include "ids/enclave_environment.hpp"
#include "ids/watcher.hpp"
#include "sgx/enclave/runtime.hpp"

sgm::wire::EnclaveResult sgm::enclave_main(const wire::StartInfo& start) {
    const auto ring = enclave::Outside::at(start.ring, wire::kRingSize, alignof(wire::RingHeader));
    const auto target = Reader{start.quoting_target}.take<sgx::TargetInfo>();
    if (!ring || !target) return wire::EnclaveResult::bad_argument;
    ids::EnclaveEnvironment environment{ids::Ring{*ring}, *target};
    return ids::watch(environment, enclave::measured_config().authority_key, start.domain,
                      start.interval_ms);
}
