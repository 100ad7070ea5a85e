// SPDX-License-Identifier: MIT
#pragma once

#include "sgx/loader/device/driver.hpp"
#include "sgx/loader/loader.hpp"

namespace sgm::sgx::device {

// Whether enclaves can be loaded here: the driver opens and the vDSO has the way in. The error is
// one sentence that says what is missing and what to do.
[[nodiscard]] std::expected<void, std::string> check_device(Driver& driver);

// What load_enclave() gives for Platform::device.
[[nodiscard]] std::expected<std::unique_ptr<Enclave>, std::string> load_device_enclave(
    const LoadRequest& request, Driver& driver);

}  // namespace sgm::sgx::device
