// SPDX-License-Identifier: MIT
// An enclave of software SGX, in a monitor process of its own.
#pragma once

#include "sgx/loader/loader.hpp"

namespace sgm::sgx::soft {

// Starts the monitor and has it load the enclave. The monitor inherits no memory, no environment
// and one socket.
[[nodiscard]] std::expected<std::unique_ptr<Enclave>, std::string> load_soft_enclave(
    const LoadRequest& request);

}  // namespace sgm::sgx::soft
