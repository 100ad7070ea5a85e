// SPDX-License-Identifier: MIT
// What an enclave and its signature say, for people and for programs.
#pragma once

#include "cli/output.hpp"
#include "sgx/image/elf.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"

namespace sgm::sgx::tool {

// A linked file, signed or not.
[[nodiscard]] cli::Record build_info(Bytes file, const ElfFile& elf);

// What is measured, without the page map.
void describe(const EnclaveImage& image, cli::Record& record);
// What the signer adds to it. "kind" says whether it is a debug enclave.
void describe(const Sigstruct& sigstruct, cli::Record& record);

[[nodiscard]] cli::Table page_map(const EnclaveImage& image);

}  // namespace sgm::sgx::tool
