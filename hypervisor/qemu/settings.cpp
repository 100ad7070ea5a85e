// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/settings.hpp"

#include <fmt/core.h>
#include <pwd.h>
#include <unistd.h>

#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "config/toml_file.hpp"
#include "crypto/hash.hpp"

namespace sgm::qemu {
namespace {

// Files that the options name are found from wherever the program runs later.
std::string quoted_path(const std::filesystem::path& path) {
    return config::toml_string(std::filesystem::absolute(path).lexically_normal().string());
}

std::string current_user() {
    const passwd* const entry = ::getpwuid(::geteuid());
    return entry != nullptr ? entry->pw_name : "";
}

std::string settings_text(const InitOptions& options) {
    const auto path = [](const std::filesystem::path& option, std::string_view otherwise) {
        return option.empty() ? config::toml_string(otherwise) : quoted_path(option);
    };
    return fmt::format(
        R"(# The hypervisor's part for VMs that QEMU runs: reads their memory for an approved IDS and seals
# every answer. Relative paths are relative to this file. Changes take effect at the next start.

# This hypervisor's own key. Enrol hypervisor.pub with the authority; never show the other file.
key = "hypervisor.key"

# The authority whose word this hypervisor believes about an IDS: its public key file.
authority_key = {}

# Where sgmonitord reaches this process, and who may: "0600" (this user) or "0660" (its group too).
socket = {}
socket_mode = "0600"

# Where `sgmonitor hypervisor attach`, `detach` and `ls` reach it: this user and root only.
control = "control.sock"

# Whom this process becomes when root starts it, once it has opened the key and the VMs below. An own
# user that owns this directory is best: packaging/sgmonitor-hypervisor.service has one.
user = {}

# SOFTWARE SGX: no protection from this host's root. Leave it off where it matters.
allow_software_sgx = {}
)",
        path(options.authority_key, "authority.pub"), path(options.socket, "hypervisor.sock"),
        config::toml_string(options.user.empty() ? current_user() : options.user),
        options.allow_software_sgx);
}

std::string domain_text(const InitOptions& options) {
    const bool given = !options.domain.empty();
    const auto path = [&](const std::filesystem::path& option, std::string_view example) {
        return given ? quoted_path(option) : config::toml_string(example);
    };
    return fmt::format(
        R"(
# The VMs, one [[domain]] for each; `sgmonitor hypervisor attach` adds others later. `memory` is the
# file of QEMU's shared memory backend: in /dev/shm, or /proc/PID/fd/N of a memfd. `qmp` is a QMP
# socket for this process alone (QEMU takes several -qmp options and serves one client on each).
# `backend = "ID"` names QEMU's memory backend when several have the same size.
{0}[[domain]]
{0}uuid = {1}
{0}memory = {2}
{0}qmp = {3}
)",
        given ? "" : "# ",
        config::toml_string(given ? options.domain : "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"),
        path(options.ram, "/dev/shm/vm"), path(options.qmp, "/run/vm.qmp"));
}

config::Result<void> check(const InitOptions& options) {
    const int given = !options.domain.empty() + !options.ram.empty() + !options.qmp.empty();
    if (given != 0 && given != 3) {
        return std::unexpected{config::Error{
            "--domain, --ram and --qmp belong together: give all of them, or none and edit the "
            "file"}};
    }
    if (given != 0 && !config::parse_uuid(options.domain)) {
        return std::unexpected{
            config::Error{"--domain must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"}};
    }
    return {};
}

}  // namespace

config::Result<Settings> load_settings(const std::filesystem::path& path) {
    auto file = config::TomlFile::open(path);
    if (!file) return std::unexpected{file.error()};
    config::Table root = file->root();
    Settings settings{.key = root.path("key"),
                      .authority = root.signing_key("authority_key"),
                      .socket = root.path("socket"),
                      .socket_mode = 0600,
                      .control = root.path("control", "control.sock"),
                      .user = root.string("user", ""),
                      .allow_software_sgx = root.boolean("allow_software_sgx", false),
                      .domains = {}};
    const std::string mode = root.string("socket_mode", "0600");
    if (mode == "0660") {
        settings.socket_mode = 0660;
    } else if (mode != "0600") {
        root.refuse("socket_mode", "'socket_mode' must be \"0600\" or \"0660\"");
    }
    for (config::Table& table : root.tables("domain")) {
        const DomainSettings domain{.uuid = table.uuid("uuid"),
                                    .memory = table.path("memory", ""),
                                    .qmp = table.path("qmp"),
                                    .backend = table.string("backend", ""),
                                    .given = {},
                                    .qmp_connection = nullptr};
        for (const DomainSettings& other : settings.domains) {
            if (other.uuid == domain.uuid)
                table.refuse("uuid", "'uuid' names a domain a second time");
            if (other.qmp == domain.qmp) table.refuse("qmp", "'qmp' is another domain's too");
        }
        settings.domains.push_back(domain);
    }
    if (auto sound = file->finish(); !sound) return std::unexpected{sound.error()};
    return settings;
}

config::Result<void> init(const InitOptions& options) {
    if (auto sound = check(options); !sound) return sound;
    if (auto made = config::make_directory(options.dir); !made) return made;
    const auto key = config::create_sealing_key_pair(options.dir / "hypervisor");
    if (!key) return std::unexpected{key.error()};
    if (auto written = config::write_file(options.dir / "hypervisor.toml",
                                          settings_text(options) + domain_text(options), 0644,
                                          config::IfExists::refuse);
        !written) {
        return written;
    }
    fmt::print("public key: {}\nkey id:     {}\n", config::to_hex(key->public_key()),
               config::to_hex(crypto::sha256(key->public_key())));
    return {};
}

}  // namespace sgm::qemu
