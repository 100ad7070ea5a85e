// SPDX-License-Identifier: MIT
// sgmonitor-authority: the third party. It sees quotes and keys, never guest data.
#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>

#include "authority/init.hpp"
#include "authority/policy.hpp"
#include "authority/revocations.hpp"
#include "authority/service.hpp"
#include "cli/program.hpp"
#include "cli/stop_signal.hpp"
#include "config/key_file.hpp"

namespace sgm::authority {
namespace {

config::Result<void> run(const std::filesystem::path& config_path) {
    auto settings = load_settings(config_path);
    if (!settings) return std::unexpected{settings.error()};
    auto key = config::load_signing_key_pair(settings->signing_key);
    if (!key) return std::unexpected{key.error()};

    cli::start_log();
    const cli::StopSignal stop;
    const std::string listen = settings->listen;
    if (settings->policy.software_root) {
        spdlog::warn("allow_software_sgx is set: {}", cli::kSoftwareSgxBanner);
    }
    Service service{std::move(*settings), std::move(*key)};
    const auto port = service.start();
    if (!port) return std::unexpected{port.error()};
    cli::announce_ready(fmt::format("the authority serves http://{}:{}", listen, *port));
    stop.wait();
    return {};
}

}  // namespace
}  // namespace sgm::authority

int main(int argc, char** argv) {
    namespace authority = sgm::authority;
    sgm::cli::Program program{"sgmonitor-authority",
                              "Says which IDS may watch which VM: appraises its quote and signs "
                              "an attestation result"};
    authority::InitOptions options;
    CLI::App& init = program.command("init", "Write authority.toml and the signing key",
                                     [&] { return authority::init(options); });
    init.add_option("--dir", options.dir, "Directory for the files")->required();
    init.add_option("--listen", options.listen, "Address to listen on")->capture_default_str();
    init.add_option("--port", options.port, "Port to listen on; 0: any")->capture_default_str();
    init.add_option("--domain", options.domain, "UUID of a VM to enrol");
    init.add_option("--hypervisor-key", options.hypervisor_key, "Its hypervisor's public key file");
    init.add_option("--owner-signing-key", options.owner_signing_key,
                    "Its owner's Ed25519 public key file");
    init.add_option("--owner-sealing-key", options.owner_sealing_key,
                    "Its owner's X25519 public key file");
    init.add_option("--software-sgx-root", options.software_sgx_root,
                    "Allow software SGX (no protection from the host's root) under this root");
    init.add_option("--approve-mrenclave", options.approved_mrenclaves,
                    "MRENCLAVE of an approved enclave; may be repeated");

    std::filesystem::path config;
    CLI::App& run = program.command("run", "Serve until SIGTERM or Ctrl-C",
                                    [&] { return authority::run(config); });
    run.add_option("--config", config, "authority.toml")->required();

    authority::RevocationOptions revocation;
    const auto revocation_command = [&](const char* name, const char* help,
                                        authority::Change change) {
        CLI::App& command = program.command(name, help, [&revocation, change] {
            return authority::change_revocations(revocation, change);
        });
        command.add_option("--config", revocation.config, "authority.toml")->required();
        command.add_option("--mrenclave", revocation.mrenclave, "Every IDS of this MRENCLAVE");
        command.add_option("--domain", revocation.domain, "Every IDS of the VM with this UUID");
        command.add_option("--registration", revocation.registration,
                           "The one registration with this binding digest");
        command.add_flag("--everything", revocation.everything, "Every IDS");
        command.add_option("--hypervisor", revocation.hypervisor,
                           "Only at the hypervisor with this key id");
    };
    revocation_command("revoke", "Take an approval back: sessions are closed, none is opened",
                       authority::Change::revoke);
    revocation_command("restore", "Take a revocation back", authority::Change::restore);
    bool json = false;
    CLI::App& list = program.command("revocations", "What is revoked",
                                     [&] { return authority::show_revocations(config, json); });
    list.add_option("--config", config, "authority.toml")->required();
    list.add_flag("--json", json, "For programs");
    return program.run(argc, argv);
}
