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
    ImageOptions image;
    SigningOptions signing;  // without the date
    bool has_authority = false;
};

[[nodiscard]] config::Result<Settings> load_settings(const std::filesystem::path& path);

// The file with every default, and what each key means.
[[nodiscard]] std::string default_settings_text();

}  // namespace sgm::sgx::tool
