// SPDX-License-Identifier: MIT
// host.toml: what sgmonitord runs, and whom it carries messages for.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <string_view>

#include "config/error.hpp"
#include "sgx/loader/loader.hpp"
#include "wire/ids.hpp"

namespace sgm::host {

// How the hypervisor is reached.
enum class HypervisorKind {
    qemu,  // a process beside QEMU, through its socket
    xen,   // the hypercall, from dom0
};
// The error is a sentence.
[[nodiscard]] std::expected<HypervisorKind, std::string> parse_hypervisor(std::string_view name);

struct Settings {
    wire::Uuid domain;                         // the VM to watch
    sgx::Platform platform;                    // auto, device, soft
    bool allow_software_sgx;                   // false: production, real SGX or nothing
    std::filesystem::path enclave;             // signed image
    std::filesystem::path sigstruct;           // its SIGSTRUCT
    std::filesystem::path platform_directory;  // software SGX: fuse key and quoting certificates
    std::filesystem::path state_directory;     // what the IDS keeps over a restart, sealed
    HypervisorKind hypervisor;
    std::string hypervisor_socket;  // qemu only
    std::string authority_url;
    std::string remote_url;
    std::uint32_t interval_ms;  // between scans
};

[[nodiscard]] config::Result<Settings> load_settings(const std::filesystem::path& path);

// Writes DIR/host.toml with comments.
struct InitialSettings {
    std::string domain;
    std::string enclave;
    std::string hypervisor;  // qemu, xen
    std::string hypervisor_socket;
    std::string authority_url;
    std::string remote_url;
    bool allow_software_sgx = false;
};
[[nodiscard]] config::Result<std::filesystem::path> write_settings(
    const std::filesystem::path& directory, const InitialSettings& initial);

}  // namespace sgm::host
