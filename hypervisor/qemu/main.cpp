// SPDX-License-Identifier: MIT
// sgmonitor-hypervisor: trusted; holds the hypervisor's key and reads the VMs' memory.
#include <errno.h>
#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <cstring>

#include "cli/program.hpp"
#include "cli/stop_signal.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "hypervisor/qemu/commands.hpp"
#include "hypervisor/qemu/confinement.hpp"
#include "hypervisor/qemu/control.hpp"
#include "hypervisor/qemu/port.hpp"
#include "hypervisor/qemu/ring_server.hpp"
#include "hypervisor/qemu/settings.hpp"

namespace sgm::qemu {
namespace {

config::Result<std::uint64_t> first_epoch(QemuPort& port) {
    // Random, so that an epoch of an earlier start of this process never comes again by chance.
    std::uint32_t epoch = 0;
    if (!port.random(mutable_bytes_of(epoch))) {
        return std::unexpected{config::Error{"the kernel gives no randomness"}};
    }
    return epoch;
}

config::Result<std::string> attach_all(const Settings& settings, std::uint64_t epoch,
                                       ContinueGuard& guard, QemuPort& port) {
    std::string attached;
    for (const DomainSettings& domain_settings : settings.domains) {
        auto domain = std::make_unique<QemuDomain>(domain_settings, epoch, &guard);
        if (auto result = domain->attach(); !result) return std::unexpected{result.error()};
        attached += fmt::format("domain {}, {} MiB RAM, ", config::uuid_text(domain_settings.uuid),
                                (domain->ram_size() + (1u << 19)) >> 20);
        (void)port.add(std::move(domain));
    }
    return attached;
}

config::Result<void> run(const std::filesystem::path& config_path) {
    if (auto hard = harden(); !hard) return hard;
    cli::start_log();
    const cli::StopSignal stop;
    // Before there is anything that it must not have.
    const auto guard = ContinueGuard::start();
    if (!guard) return std::unexpected{guard.error()};
    const auto settings = load_settings(config_path);
    if (!settings) return std::unexpected{settings.error()};
    auto key = config::load_sealing_key_pair(settings->key);
    if (!key) return std::unexpected{key.error()};
    if (settings->allow_software_sgx) {
        spdlog::warn("allow_software_sgx is set: {}", cli::kSoftwareSgxBanner);
    }
    QemuPort port;
    const auto epoch = first_epoch(port);
    if (!epoch) return std::unexpected{epoch.error()};
    const auto attached = attach_all(*settings, *epoch, **guard, port);
    if (!attached) return std::unexpected{attached.error()};
    if (auto dropped = become(settings->user); !dropped) return dropped;

    const auto core = std::make_unique<hypervisor::Core>(port, std::move(*key), settings->authority,
                                                         settings->allow_software_sgx);
    // All sessions' keys and the hypervisor's own: not to the swap.
    if (::mlock(core.get(), sizeof(*core)) != 0) {
        spdlog::warn("keys are not locked in memory: {}", std::strerror(errno));
    }
    CoreGate gate{*core, [&](wire::Status status, std::size_t size) { port.count(status, size); }};
    const auto server = RingServer::listen(settings->socket, settings->socket_mode, gate);
    if (!server) return std::unexpected{server.error()};
    const auto control = ControlServer::listen(
        settings->control,
        {.gate = gate, .port = port, .first_epoch = *epoch, .guard = guard->get()});
    if (!control) return std::unexpected{control.error()};
    if (auto confined = give_up_system_calls(); !confined) return confined;
    cli::announce_ready(fmt::format("{}socket {}", *attached, settings->socket.string()));
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
    init.add_option("--user", options.user,
                    "Whom root becomes after the start (default: who runs this)");
    init.add_option("--domain", options.domain, "UUID of the VM");
    init.add_option("--ram", options.ram, "The file behind its memory");
    init.add_option("--qmp", options.qmp, "A QMP socket of its QEMU, for this process alone");

    std::filesystem::path config;
    CLI::App& run =
        program.command("run", "Serve until SIGTERM or Ctrl-C", [&] { return qemu::run(config); });
    run.add_option("--config", config, "hypervisor.toml")->required();

    qemu::AttachOptions attaching;
    CLI::App& attach = program.command(
        "attach", "Let the running process watch one VM more; as root or QEMU's user",
        [&] { return qemu::attach(attaching); });
    attach.add_option("--config", attaching.config, "hypervisor.toml")->required();
    attach.add_option("--qmp", attaching.qmp, "A QMP socket of its QEMU, for SGmonitor alone")
        ->required();
    attach.add_option("--domain", attaching.domain, "UUID of the VM (default: QEMU's -uuid)");
    attach.add_option("--memory", attaching.memory,
                      "[ID=]PATH: a memory backend's file (default: found through QEMU's process)");
    attach.add_flag("--json", attaching.json, "For programs");

    qemu::DetachOptions detaching;
    CLI::App& detach = program.command("detach", "End the watch over a VM",
                                       [&] { return qemu::detach(detaching); });
    detach.add_option("--config", detaching.config, "hypervisor.toml")->required();
    detach.add_option("--domain", detaching.domain, "UUID of the VM")->required();

    qemu::ListOptions listing;
    CLI::App& list = program.command("ls", "The VMs, their sessions, what was served and refused",
                                     [&] { return qemu::list(listing); });
    list.add_option("--config", listing.config, "hypervisor.toml")->required();
    list.add_flag("--json", listing.json, "For programs");
    return program.run(argc, argv);
}
