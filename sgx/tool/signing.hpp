// SPDX-License-Identifier: MIT
// Signing in one step, or in two when the key lives elsewhere: on a smart card, in a key service,
// on a machine without a network.
#pragma once

#include <filesystem>

#include "sgx/tool/files.hpp"
#include "sgx/tool/settings.hpp"

namespace sgm::sgx::tool {

// The linked file with layout, authority and label filled in. The error names the file.
[[nodiscard]] Result<FileBytes> prepare(const std::filesystem::path& enclave,
                                        const Settings& settings);

// One step: writes OUT.elf and OUT.sig, or OUT.debug.sig.
[[nodiscard]] Result<SignedEnclave> sign(const std::filesystem::path& enclave,
                                         const Settings& settings, const SignerKey& key,
                                         const std::filesystem::path& out);

// First of two: writes OUT.elf, OUT.unsigned and, into `digest_file`, the 32 bytes to sign.
[[nodiscard]] Result<EnclaveImage> begin_signing(const std::filesystem::path& enclave,
                                                 const Settings& settings,
                                                 const std::filesystem::path& digest_file,
                                                 const std::filesystem::path& out);

// Second: makes OUT.sig (or OUT.debug.sig) of OUT.unsigned and the signature, for OUT.elf as it is
// now, and removes OUT.unsigned.
[[nodiscard]] Result<SignedEnclave> finish_signing(const std::filesystem::path& signature_file,
                                                   const std::filesystem::path& public_key,
                                                   const std::filesystem::path& out);

}  // namespace sgm::sgx::tool
