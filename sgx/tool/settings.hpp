// SPDX-License-Identifier: MIT
// enclave.toml: what the signer decides about an enclave.
#pragma once

#include <filesystem>
#include <string>

#include "config/error.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"

namespace sgm::sgx::tool {

struct Settings {
    std::uint64_t heap_size = ImageOptions{}.heap_size;
    std::uint64_t stack_size = ImageOptions{}.stack_size;
    SigningOptions signing;
};

[[nodiscard]] config::Result<Settings> load_settings(const std::filesystem::path& path);

// The file with every default, and what each key means.
[[nodiscard]] std::string default_settings_text();

}  // namespace sgm::sgx::tool
