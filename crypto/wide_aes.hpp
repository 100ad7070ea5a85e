// SPDX-License-Identifier: MIT
// In an enclave alone; on the host IPSec_MB chooses for itself.
#pragma once

namespace sgm::crypto {

// From now on AES-256-GCM by IPSec_MB takes 512-bit registers. Before the first key, and only where
// the enclave's own report says that it has AVX-512's state: every CPU with SGX and VAES has it,
// and on one without VAES the enclave faults, of which nothing is lost but the service.
void use_wide_aes();

}  // namespace sgm::crypto
