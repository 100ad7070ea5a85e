// SPDX-License-Identifier: MIT
// Between keys_test.cpp and its enclave.
#pragma once

#include <cstdint>

namespace sgm::sgx::soft {

// In the first byte of `domain`. What is received and sent goes to and comes from the owner.
enum class KeysCommand : std::uint8_t {
    seal,         // a policy (u16), then contents: gives the blob
    unseal,       // a policy (u16), then a blob: gives the contents; bad_argument: it does not open
    target_info,  // gives the TARGETINFO for which reports reach this enclave
    report,       // a TARGETINFO: gives a REPORT for it
    verify,       // a REPORT: gives its body; bad_argument: it is not for this enclave
};

}  // namespace sgm::sgx::soft
