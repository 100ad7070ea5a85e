// SPDX-License-Identifier: MIT
// The files that a signer works on, read and written with one sentence for each thing that is
// wrong.
#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"

namespace sgm::sgx::tool {

// As sgx/image gives them: one sentence.
template <typename T>
using Result = std::expected<T, std::string>;
using FileBytes = std::vector<std::uint8_t>;

[[nodiscard]] Result<FileBytes> read_file(const std::filesystem::path& path, std::size_t most);
// Whole or not at all; what was there is replaced.
[[nodiscard]] Result<void> write_file(const std::filesystem::path& path, Bytes bytes);

[[nodiscard]] Result<EnclaveImage> read_image(const std::filesystem::path& path);
// Verified.
[[nodiscard]] Result<Sigstruct> read_sigstruct(const std::filesystem::path& path);

struct SignedEnclave {
    EnclaveImage image;
    Sigstruct sigstruct;
};
// Both, and that they belong together.
[[nodiscard]] Result<SignedEnclave> read_signed(const std::filesystem::path& enclave,
                                                const std::filesystem::path& sigstruct);

// Where `sign` puts the signature of OUT.elf. A debug enclave's has a name of its own, so that
// nothing that looks for a signature finds it by itself.
[[nodiscard]] std::filesystem::path sigstruct_path(const std::filesystem::path& enclave,
                                                   bool debug);

}  // namespace sgm::sgx::tool
