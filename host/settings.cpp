// SPDX-License-Identifier: MIT
#include "host/settings.hpp"

#include <fmt/format.h>

#include "config/file.hpp"
#include "config/text.hpp"
#include "config/toml_file.hpp"

namespace sgm::host {

namespace {

std::string url(config::Table& table, std::string_view key) {
    std::string value = table.string(key);
    if (!value.empty() && !value.starts_with("http://")) {
        table.refuse(
            key, "'" + std::string{key} +
                     "' must be http://HOST:PORT (what is carried is signed or sealed already)");
    }
    return value;
}

}  // namespace

std::expected<HypervisorKind, std::string> parse_hypervisor(std::string_view name) {
    if (name == "qemu") return HypervisorKind::qemu;
    if (name == "xen") return HypervisorKind::xen;
    return std::unexpected("the hypervisor must be qemu or xen, not '" + std::string{name} + "'");
}

config::Result<Settings> load_settings(const std::filesystem::path& path) {
    auto file = config::TomlFile::open(path);
    if (!file) return std::unexpected(file.error());
    config::Table root = file->root();
    Settings settings{};
    settings.domain = root.uuid("domain");
    if (const auto platform = sgx::parse_platform(root.string("sgx", "auto"))) {
        settings.platform = *platform;
    } else {
        root.refuse("sgx", platform.error());
    }
    settings.allow_software_sgx = root.boolean("allow_software_sgx", false);
    settings.enclave = root.path("enclave");
    settings.sigstruct = root.path("sigstruct");
    settings.platform_directory = root.path("platform_directory", "platform");
    settings.state_directory = root.path("state_directory", "state");
    if (const auto kind = parse_hypervisor(root.string("hypervisor", "qemu"))) {
        settings.hypervisor = *kind;
    } else {
        root.refuse("hypervisor", kind.error());
    }
    settings.hypervisor_socket =
        root.path("hypervisor_socket", "/run/sgmonitor/hypervisor.sock").string();
    settings.authority_url = url(root, "authority_url");
    settings.remote_url = url(root, "remote_url");
    settings.interval_ms = root.integer<std::uint32_t>("interval_ms", 100, 60'000, 1'000);
    if (const auto sound = file->finish(); !sound) return std::unexpected(sound.error());
    return settings;
}

config::Result<std::filesystem::path> write_settings(const std::filesystem::path& directory,
                                                     const InitialSettings& initial) {
    if (!config::parse_uuid(initial.domain)) {
        return std::unexpected{
            config::Error{"--domain must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"}};
    }
    std::filesystem::path path = directory / "host.toml";
    if (const auto kind = parse_hypervisor(initial.hypervisor); !kind) {
        return std::unexpected{config::Error{"--hypervisor: " + kind.error()}};
    }
    const std::string text = fmt::format(
        R"(# sgmonitord: loads the signed enclave with the IDS and carries its messages. Nothing here is
# secret, and nothing that the host writes here is believed by the enclave, the hypervisor, the
# authority or the owner. Relative paths count from this file.

# The VM to watch. The authority must have enrolled it.
domain = {}

# device: real SGX or nothing. soft: SOFTWARE SGX, no protection from this host's root. auto: real SGX
# where it can be used, else soft where that is allowed. What it became, and why, is said at every
# start; `sgmonitor host doctor` explains this machine.
sgx = "auto"

# For trials only: with false, a machine without real SGX is an error. The authority, the hypervisor
# and the owner each decide for themselves whether they believe software SGX.
allow_software_sgx = {}

# The signed enclave, as `sgmonitor enclave sign` wrote it.
enclave = {}
sigstruct = {}

# Software SGX only: this machine's key and its quoting certificates.
platform_directory = "platform"

# What the IDS keeps for its next start, sealed. Who loses it, or puts an older one back, makes the
# owner hear of it; a VM that moves to another host begins without it.
state_directory = "state"

# qemu: a hypervisor process beside QEMU, which listens at hypervisor_socket. xen: the hypercall of
# a Xen with SGmonitor in it; sgmonitord then runs in dom0.
hypervisor = {}
hypervisor_socket = {}

# Who approves enclaves, and who owns the VM.
authority_url = {}
remote_url = {}

# Milliseconds between scans, and so between heartbeats: 100 to 60000. The owner's own setting
# decides when a missing beat is an alarm.
interval_ms = 1000
)",
        config::toml_string(initial.domain), initial.allow_software_sgx,
        config::toml_string(initial.enclave),
        config::toml_string(
            std::filesystem::path{initial.enclave}.replace_extension(".sig").string()),
        config::toml_string(initial.hypervisor), config::toml_string(initial.hypervisor_socket),
        config::toml_string(initial.authority_url), config::toml_string(initial.remote_url));
    if (const auto made = config::make_directory(directory); !made) {
        return std::unexpected(made.error());
    }
    if (const auto written = config::write_file(path, text, 0644, config::IfExists::refuse);
        !written) {
        return std::unexpected(written.error());
    }
    return path;
}

}  // namespace sgm::host
