// SPDX-License-Identifier: MIT
// `sgmonitor authority init`: a commented authority.toml and the signing key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/error.hpp"

namespace sgm::authority {

// What is left empty stands in the file as a commented example.
struct InitOptions {
    std::filesystem::path dir;
    std::string listen = "127.0.0.1";
    std::uint16_t port = 7400;
    std::string domain;
    std::filesystem::path hypervisor_key;
    std::filesystem::path owner_signing_key;
    std::filesystem::path owner_sealing_key;
    std::filesystem::path software_sgx_root;  // given: software SGX is allowed
    std::vector<std::string> approved_mrenclaves;
};

[[nodiscard]] config::Result<void> init(const InitOptions& options);

}  // namespace sgm::authority
