// SPDX-License-Identifier: MIT
// remote.toml, and what `init` makes of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "config/error.hpp"
#include "wire/ids.hpp"

namespace sgm::remote {

struct Settings {
    wire::Uuid domain;
    std::string listen;
    std::uint16_t port;
    std::chrono::milliseconds interval;  // T: how often the IDS is expected to beat
    std::filesystem::path store;
    std::filesystem::path rules;
    std::filesystem::path signing_key;
    std::filesystem::path sealing_key;
    wire::SigningKey authority_key;
    bool allow_software_sgx;
    bool require_protection;
};

[[nodiscard]] config::Result<Settings> load_settings(const std::filesystem::path& path);

struct InitOptions {
    std::filesystem::path dir;
    std::string domain;
    std::filesystem::path authority_key;
    std::string listen = "127.0.0.1";
    std::uint16_t port = 7401;
    std::uint32_t interval_ms = 1000;
    bool allow_software_sgx = false;
    bool require_protection = false;
};

// Writes remote.toml, rules.toml and the owner's two key pairs.
[[nodiscard]] config::Result<void> init(const InitOptions& options);

}  // namespace sgm::remote
