// SPDX-License-Identifier: MIT
// The IDS's life: register, find the kernel, and then at every interval scan, report and beat;
// in between, do what the owner asks.
#pragma once

#include "ids/environment.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/ids.hpp"

namespace sgm::ids {

// Returns when the host stops it, or with the reason why it could not begin. `authority` is from
// the measured configuration; `domain` and `interval_ms` are the host's word.
[[nodiscard]] wire::EnclaveResult watch(Environment& environment, const wire::SigningKey& authority,
                                        const wire::Uuid& domain, std::uint32_t interval_ms);

}  // namespace sgm::ids
