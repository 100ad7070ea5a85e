// SPDX-License-Identifier: MIT
// sgmonitor-hypervisor: trusted; holds the hypervisor's key and reads the VMs' memory.
#include <errno.h>
#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstring>

#include "cli/program.hpp"
#include "cli/stop_signal.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "hypervisor/qemu/port.hpp"
#include "hypervisor/qemu/ring_server.hpp"
#include "hypervisor/qemu/settings.hpp"

namespace sgm::qemu {
namespace {

// Before any secret is in memory: nobody but root may look into this process, nothing of it goes
// to a core file, and nothing that it starts gains rights.
config::Result<void> harden() {
    const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
    if (::prctl(PR_SET_DUMPABLE, 0) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::setrlimit(RLIMIT_CORE, &no_core) != 0) {
        return std::unexpected{
            config::Error{fmt::format("cannot protect this process: {}", std::strerror(errno))}};
    }
    return {};
}

config::Result<std::uint64_t> first_epoch(QemuPort& port) {
    // Random, so that an epoch of an earlier start of this process never comes again by chance.
    std::uint32_t epoch = 0;
    if (!port.random(mutable_bytes_of(epoch))) {
        return std::unexpected{config::Error{"the kernel gives no randomness"}};
    }
    return epoch;
}

config::Result<void> run(const std::filesystem::path& config_path) {
    if (auto hard = harden(); !hard) return hard;
    const auto settings = load_settings(config_path);
    if (!settings) return std::unexpected{settings.error()};
    auto key = config::load_sealing_key_pair(settings->key);
    if (!key) return std::unexpected{key.error()};

    cli::start_log();
    const cli::StopSignal stop;
    if (settings->allow_software_sgx) {
        spdlog::warn("allow_software_sgx is set: {}", cli::kSoftwareSgxBanner);
    }
    QemuPort port;
    const auto epoch = first_epoch(port);
    if (!epoch) return std::unexpected{epoch.error()};
    std::string ready;
    for (const DomainSettings& domain_settings : settings->domains) {
        auto domain = std::make_unique<QemuDomain>(domain_settings, *epoch);
        if (auto attached = domain->attach(); !attached) return attached;
        ready += fmt::format("domain {}, {} MiB RAM, ", config::uuid_text(domain_settings.uuid),
                             (domain->ram_size() + (1u << 19)) >> 20);
        (void)port.add(std::move(domain));
    }

    const auto core = std::make_unique<hypervisor::Core>(port, std::move(*key), settings->authority,
                                                         settings->allow_software_sgx);
    // All sessions' keys and the hypervisor's own: not to the swap.
    if (::mlock(core.get(), sizeof(*core)) != 0) {
        spdlog::warn("keys are not locked in memory: {}", std::strerror(errno));
    }
    CoreGate gate{*core, [&](wire::Status status, std::size_t size) { port.count(status, size); }};
    const auto server = RingServer::listen(settings->socket, settings->socket_mode, gate);
    if (!server) return std::unexpected{server.error()};
    cli::announce_ready(fmt::format("{}socket {}", ready, settings->socket.string()));
    stop.wait();
    return {};
}

}  // namespace
}  // namespace sgm::qemu

int main(int argc, char** argv) {
    namespace qemu = sgm::qemu;
    sgm::cli::Program program{"sgmonitor-hypervisor",
                              "Reads the memory of VMs that QEMU runs, for an approved IDS only, "
                              "and seals every answer"};
    qemu::InitOptions options;
    CLI::App& init = program.command("init", "Write hypervisor.toml and this hypervisor's key",
                                     [&] { return qemu::init(options); });
    init.add_option("--dir", options.dir, "Directory for the files")->required();
    init.add_option("--authority-key", options.authority_key, "The authority's public key file");
    init.add_option("--socket", options.socket, "Unix socket for sgmonitord");
    init.add_flag("--allow-software-sgx", options.allow_software_sgx,
                  "Let software enclaves register: no protection from this host's root");
    init.add_option("--domain", options.domain, "UUID of the VM");
    init.add_option("--ram", options.ram, "The file behind its memory");
    init.add_option("--qmp", options.qmp, "A QMP socket of its QEMU, for this process alone");

    std::filesystem::path config;
    CLI::App& run =
        program.command("run", "Serve until SIGTERM or Ctrl-C", [&] { return qemu::run(config); });
    run.add_option("--config", config, "hypervisor.toml")->required();
    return program.run(argc, argv);
}
