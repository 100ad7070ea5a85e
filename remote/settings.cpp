// SPDX-License-Identifier: MIT
#include "remote/settings.hpp"

#include <fmt/core.h>

#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "config/toml_file.hpp"
#include "remote/rules.hpp"

namespace sgm::remote {
namespace {

constexpr std::uint32_t kMinIntervalMs = 100;
constexpr std::uint32_t kMaxIntervalMs = 60'000;

std::string settings_text(const InitOptions& options) {
    return fmt::format(
        R"(# The remote: the VM owner's side. Relative paths are relative to this file. Changes take effect when
# the program is started again.

# The VM.
domain = {domain}

# Where the host's relay brings the IDS's messages and fetches ours. All of them are signed and
# sealed; the relay and the network see lengths and times only.
listen = {listen}
port = {port}  # 0: any free port; the ready line says which

# T: how often the IDS is expected to beat. Suspect after 2 T without a live beat, dead after 3 T.
interval_ms = {interval}

# The owner's keys. Findings are sealed to one, commands and rules are signed with the other. Give
# the authority owner-signing.pub and owner-sealing.pub.
signing_key = "owner-signing.key"
sealing_key = "owner-sealing.key"

# Whose word on an IDS is believed: the authority's public key.
authority_key = {authority}

# What may run in the VM.
rules = "rules.toml"

# Heartbeats, findings, alerts and queries: an SQLite file that only you may read and write. Whoever
# can write it can ask the IDS for the VM's process list.
store = "remote.db"

# SOFTWARE SGX: no protection from this host's root. Whether to listen to such an IDS at all; every
# screen and record of it says what it is.
allow_software_sgx = {software}

# Whether it is an alarm when the hypervisor does not keep the host out of the VM's memory. On QEMU it
# never does; on Xen it does once the domain is protected (docs/xen.md).
require_protection = {protection}
)",
        fmt::arg("domain", config::toml_string(options.domain)),
        fmt::arg("listen", config::toml_string(options.listen)), fmt::arg("port", options.port),
        fmt::arg("interval", options.interval_ms),
        fmt::arg("authority",
                 config::toml_string(
                     std::filesystem::absolute(options.authority_key).lexically_normal().string())),
        fmt::arg("software", options.allow_software_sgx),
        fmt::arg("protection", options.require_protection));
}

}  // namespace

config::Result<Settings> load_settings(const std::filesystem::path& path) {
    auto file = config::TomlFile::open(path);
    if (!file) return std::unexpected{file.error()};
    config::Table root = file->root();
    Settings settings{.domain = root.uuid("domain"),
                      .listen = root.string("listen"),
                      .port = root.integer<std::uint16_t>("port", 0, 65535),
                      .interval = std::chrono::milliseconds{root.integer<std::uint32_t>(
                          "interval_ms", kMinIntervalMs, kMaxIntervalMs, 1000)},
                      .store = root.path("store"),
                      .rules = root.path("rules"),
                      .signing_key = root.path("signing_key"),
                      .sealing_key = root.path("sealing_key"),
                      .authority_key = root.signing_key("authority_key"),
                      .allow_software_sgx = root.boolean("allow_software_sgx", false),
                      .require_protection = root.boolean("require_protection", false)};
    if (auto sound = file->finish(); !sound) return std::unexpected{sound.error()};
    return settings;
}

config::Result<void> init(const InitOptions& options) {
    if (!config::parse_uuid(options.domain)) {
        return std::unexpected{
            config::Error{"--domain must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"}};
    }
    if (options.interval_ms < kMinIntervalMs || options.interval_ms > kMaxIntervalMs) {
        return std::unexpected{config::Error{fmt::format("--interval-ms must be between {} and {}",
                                                         kMinIntervalMs, kMaxIntervalMs)}};
    }
    if (auto made = config::make_directory(options.dir); !made) return made;
    if (auto key = config::create_signing_key_pair(options.dir / "owner-signing"); !key) {
        return std::unexpected{key.error()};
    }
    if (auto key = config::create_sealing_key_pair(options.dir / "owner-sealing"); !key) {
        return std::unexpected{key.error()};
    }
    if (auto rules = config::write_file(options.dir / "rules.toml", example_rules(), 0644,
                                        config::IfExists::refuse);
        !rules) {
        return rules;
    }
    const std::filesystem::path path = options.dir / "remote.toml";
    if (auto written =
            config::write_file(path, settings_text(options), 0644, config::IfExists::refuse);
        !written) {
        return written;
    }
    fmt::print("wrote {}\npublic keys for the authority: {}, {}\n", path.string(),
               (options.dir / "owner-signing.pub").string(),
               (options.dir / "owner-sealing.pub").string());
    return {};
}

}  // namespace sgm::remote
