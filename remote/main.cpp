// SPDX-License-Identifier: MIT
// sgmonitor-remote: the VM owner's side. `run` is the daemon; the other commands are the console
// and reach it through its store.
#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/output.hpp"
#include "cli/program.hpp"
#include "cli/stop_signal.hpp"
#include "config/key_file.hpp"
#include "remote/console.hpp"
#include "remote/monitor.hpp"
#include "remote/rules.hpp"
#include "remote/service.hpp"
#include "remote/settings.hpp"
#include "remote/store.hpp"

namespace sgm::remote {
namespace {

using config::Result;
using std::chrono::milliseconds;

constexpr milliseconds kTick{50};
constexpr milliseconds kWatchPeriod{100};

struct Options {
    std::filesystem::path config;
    bool json = false;
    double patience_seconds = 10;
    std::int64_t limit = 100;
    std::string rules_action;

    [[nodiscard]] cli::Format format() const {
        return json ? cli::Format::json : cli::Format::text;
    }
};

Result<void> run(const Options& options) {
    const auto settings = load_settings(options.config);
    if (!settings) return std::unexpected{settings.error()};
    auto signing = config::load_signing_key_pair(settings->signing_key);
    if (!signing) return std::unexpected{signing.error()};
    auto sealing = config::load_sealing_key_pair(settings->sealing_key);
    if (!sealing) return std::unexpected{sealing.error()};
    auto rules = load_rules(settings->rules);
    if (!rules) return std::unexpected{rules.error()};

    cli::start_log();
    const cli::StopSignal stop;
    if (settings->allow_software_sgx) {
        spdlog::warn("allow_software_sgx is set: {}", cli::kSoftwareSgxBanner);
    }
    Store store = Store::create_or_open(settings->store);
    Monitor monitor{{.interval = settings->interval,
                     .authority = settings->authority_key,
                     .allow_software_sgx = settings->allow_software_sgx,
                     .require_protection = settings->require_protection},
                    OwnerChannel{std::move(*signing), std::move(*sealing), settings->domain},
                    std::move(*rules),
                    store,
                    now()};
    Service service{monitor, settings->domain};
    const auto port = service.start(settings->listen, settings->port);
    if (!port) return std::unexpected{port.error()};
    cli::announce_ready(fmt::format("the remote serves http://{}:{}", settings->listen, *port));
    while (!stop.wait_for(kTick))
        service.tick();
    service.stop();
    monitor.end(now());
    return {};
}

// The console's commands have the settings and the daemon's store.
struct Console {
    Settings settings;
    Store store;
};

Result<Console> open_console(const Options& options) {
    auto settings = load_settings(options.config);
    if (!settings) return std::unexpected{settings.error()};
    Store store = Store::open_existing(settings->store);
    return Console{.settings = std::move(*settings), .store = std::move(store)};
}

void print(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

// On stderr, so that it stands apart from a table, and JSON stays JSON.
void print_banner(Store& store) {
    const auto boot = store.newest_boot();
    if (boot && boot->boot.software_sgx()) {
        fmt::print(stderr, "{}\n", cli::kSoftwareSgxBanner);
    }
}

Result<void> show_status(const Options& options) {
    auto console = open_console(options);
    if (!console) return std::unexpected{console.error()};
    print(status(console->store, console->settings, now().utc).render(options.format()));
    return {};
}

Result<void> show_processes(const Options& options) {
    auto console = open_console(options);
    if (!console) return std::unexpected{console.error()};
    const auto patience = milliseconds{static_cast<std::int64_t>(options.patience_seconds * 1000)};
    const auto list = ask_for_processes(console->store, patience);
    if (!list) return std::unexpected{list.error()};
    print_banner(console->store);
    print(list->table.render(options.format()));
    if (list->missing != 0) {
        fmt::print(stderr, "note: {} more processes did not fit into the answer\n", list->missing);
    }
    return {};
}

Result<void> show_alerts(const Options& options) {
    auto console = open_console(options);
    if (!console) return std::unexpected{console.error()};
    print_banner(console->store);
    print(alerts(console->store, options.limit).render(options.format()));
    return {};
}

Result<void> watch(const Options& options) {
    auto console = open_console(options);
    if (!console) return std::unexpected{console.error()};
    const cli::StopSignal stop;
    Follower follower{console->store};
    print_banner(console->store);
    bool running = true;
    do {
        for (const std::string& line : follower.news(options.format()))
            print(line);
        const bool runs = is_running(console->store.status(), now().utc);
        if (runs != running) {
            fmt::print(stderr, "note: the remote {}\n",
                       runs ? "runs again" : "is not running: nothing new will come until it does");
        }
        running = runs;
    } while (std::ferror(stdout) == 0 && !stop.wait_for(kWatchPeriod));
    return {};
}

Result<void> rules(const Options& options) {
    const auto settings = load_settings(options.config);
    if (!settings) return std::unexpected{settings.error()};
    const auto set = load_rules(settings->rules);
    if (!set) return std::unexpected{set.error()};
    if (options.rules_action == "check") {
        cli::Record record;
        record.add("file", "file", settings->rules.string());
        record.add("version", "version", std::uint64_t{set->version});
        record.add("rules", "rules", std::uint64_t{set->rules.size()});
        print(record.render(options.format()));
    } else {
        print(rules_table(*set).render(options.format()));
    }
    return {};
}

}  // namespace
}  // namespace sgm::remote

int main(int argc, char** argv) {
    namespace remote = sgm::remote;
    sgm::cli::Program program{"sgmonitor-remote",
                              "The VM owner's side: heartbeats, alerts, queries, rules"};

    remote::InitOptions init;
    CLI::App& init_command =
        program.command("init", "Write remote.toml, rules.toml and the owner's keys",
                        [&] { return remote::init(init); });
    init_command.add_option("--dir", init.dir, "Directory for the files")->required();
    init_command.add_option("--domain", init.domain, "UUID of the VM")->required();
    init_command.add_option("--authority-key", init.authority_key, "The authority's public key")
        ->required();
    init_command.add_option("--listen", init.listen, "Address to listen on")->capture_default_str();
    init_command.add_option("--port", init.port, "Port to listen on; 0: any")
        ->capture_default_str();
    init_command.add_option("--interval-ms", init.interval_ms, "Heartbeat interval")
        ->capture_default_str();
    init_command.add_flag("--allow-software-sgx", init.allow_software_sgx,
                          "Listen to an IDS without protection from its host's root");
    init_command.add_flag("--require-protection", init.require_protection,
                          "Alarm when the hypervisor does not keep the host out of the VM");

    remote::Options options;
    const auto command = [&](const char* name, const char* description, auto action) -> CLI::App& {
        CLI::App& added =
            program.command(name, description, [&options, action] { return action(options); });
        added.add_option("--config", options.config, "remote.toml")->required();
        return added;
    };
    const auto shown = [&](const char* name, const char* description, auto action) -> CLI::App& {
        CLI::App& added = command(name, description, action);
        added.add_flag("--json", options.json, "For programs instead of people");
        return added;
    };
    command("run", "The daemon: serve until SIGTERM or Ctrl-C", remote::run);
    shown("status", "Whether the IDS is alive, and what it last said", remote::show_status);
    shown("ps", "The VM's processes, as its memory has them now", remote::show_processes)
        .add_option("--timeout", options.patience_seconds, "Seconds to wait for the answer")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    shown("alerts", "Findings and alerts, the newest last", remote::show_alerts)
        .add_option("--limit", options.limit, "At most so many of them")
        ->check(CLI::Range(1, 20'000))
        ->capture_default_str();
    shown("watch", "Beats, findings and alerts as they come, until Ctrl-C", remote::watch);
    shown("rules", "The rules file: is it sound, and what does it say", remote::rules)
        .add_option("action", options.rules_action, "check or show")
        ->required()
        ->check(CLI::IsMember({"check", "show"}));
    return program.run(argc, argv);
}
