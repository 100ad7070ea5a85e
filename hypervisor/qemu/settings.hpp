// SPDX-License-Identifier: MIT
// hypervisor.toml: written by `init`, read by `run`.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "wire/ids.hpp"

namespace sgm::qemu {

struct Settings {
    std::filesystem::path key;  // private, X25519
    wire::SigningKey authority;
    std::filesystem::path socket;
    mode_t socket_mode;
    std::filesystem::path control;  // socket of `attach`, `detach` and `ls`
    std::string user;               // whom root becomes; empty: not said
    bool allow_software_sgx;
    std::vector<DomainSettings> domains;
};

[[nodiscard]] config::Result<Settings> load_settings(const std::filesystem::path& path);

struct InitOptions {
    std::filesystem::path dir;
    std::filesystem::path authority_key;
    std::filesystem::path socket;
    bool allow_software_sgx = false;
    std::string user;    // empty: who runs this
    std::string domain;  // with these three, or none of them
    std::filesystem::path ram;
    std::filesystem::path qmp;
};

// Writes hypervisor.toml, hypervisor.key and hypervisor.pub, and prints the public key and its id:
// what the authority is to enrol.
[[nodiscard]] config::Result<void> init(const InitOptions& options);

}  // namespace sgm::qemu
