// SPDX-License-Identifier: MIT
#pragma once

#include "sgx/image/arch.hpp"

namespace sgm::sgx::device::testing {

// Whether SIGNATURE is the RSA-3072 signature of the SIGSTRUCT under its own MODULUS, and Q1 and
// Q2 are what SDM vol. 3D, 38.13 defines. Of OpenSSL's verification: not how sgx/image does it.
[[nodiscard]] bool signature_verifies(const Sigstruct& sigstruct);
[[nodiscard]] bool quotients_are_right(const Sigstruct& sigstruct);

}  // namespace sgm::sgx::device::testing
