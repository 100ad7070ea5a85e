// SPDX-License-Identifier: MIT
// What the parts of a request cost alone: ECALL, OCALL, a round trip over the ring, sealing.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>

#include "bench/report.hpp"
#include "bench/rig.hpp"
#include "crypto/aead.hpp"

namespace sgm::bench {
namespace {

using config::Result;

constexpr std::array<std::uint64_t, 5> kSizes = {64, 1024, 4096, 16'384, 131'072};

struct Options {
    std::uint32_t rounds = 100;
    std::uint64_t transition_cycles = 0;
    bool json = false;
};

Parameters with(const Options& options) {
    return {{"transition_cycles", options.transition_cycles}};
}
Parameters with(std::uint64_t size, std::string_view where) {
    return {{"bytes", size}, {"where", where}};
}

// Sealing in this process, with the instructions that its CPU has.
void add_sealing_here(const Options& options, Report& report) {
    const crypto::Aes256Gcm key{std::array<std::uint8_t, 32>{}};
    const std::array<std::uint8_t, 12> nonce{};
    std::array<std::uint8_t, 16> tag{};
    for (const std::uint64_t size : kSizes) {
        std::vector<std::uint8_t> text(size);
        Samples times;
        constexpr int kTogether = 20;
        for (std::uint32_t i = 0; i < options.rounds; ++i) {
            const auto begin = std::chrono::steady_clock::now();
            for (int k = 0; k < kTogether; ++k)
                static_cast<void>(key.seal(nonce, {}, text, text, tag));
            times.push_back(
                std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin)
                    .count() /
                kTogether);
        }
        report.add("seal", "ns", times, with(size, "hypervisor"));
    }
}

Result<void> add_sealing_in_enclave(Rig& rig, const Options& options, Report& report) {
    for (const Task task : {Task::seal, Task::open}) {
        for (const std::uint64_t size : kSizes) {
            Samples times;
            for (std::uint32_t i = 0; i < options.rounds; ++i) {
                const auto some = rig.run({.task = task, .count = 200, .size = size});
                const auto few = rig.run({.task = task, .count = 100, .size = size});
                if (!some) return std::unexpected{some.error()};
                if (!few) return std::unexpected{few.error()};
                times.push_back((some->elapsed_ns - few->elapsed_ns) / 100);
            }
            report.add(task == Task::seal ? "seal" : "seal_and_open", "ns", times,
                       with(size, "enclave"));
        }
    }
    return {};
}

Result<void> add_round_trips(Rig& rig, std::string_view name, const Options& options,
                             Report& report) {
    for (const std::uint64_t size : kSizes) {
        Samples times;
        for (std::uint32_t i = 0; i < options.rounds; ++i) {
            const auto outcome = rig.run({.task = Task::ring, .count = 50, .size = size});
            if (!outcome) return std::unexpected{outcome.error()};
            Samples one;
            for (std::size_t k = 1; k < outcome->clocks.size(); ++k)
                one.push_back(static_cast<double>(outcome->clocks[k] - outcome->clocks[k - 1]));
            times.push_back(median(one));
        }
        report.add(std::string{name}, "ns", times, with(size, "ring"));
    }
    return {};
}

Result<void> run(const Options& options) {
    Report report{"bench_costs"};
    const Workplace workplace;
    const auto ram = make_ram(workplace, 10);
    if (!ram) return std::unexpected{ram.error()};
    const auto start = [&](Sealing sealing, const std::string& name) {
        return Rig::start(sealing, *ram, workplace / name, options.transition_cycles);
    };
    const auto sealed = start(Sealing::sealed, "sealed");
    if (!sealed) return std::unexpected{sealed.error()};
    const auto unsealed = start(Sealing::unsealed, "unsealed");
    if (!unsealed) return std::unexpected{unsealed.error()};

    add_sealing_here(options, report);
    if (auto done = add_sealing_in_enclave(**sealed, options, report); !done) return done;
    if (auto done = add_round_trips(**sealed, "round_trip_sealed", options, report); !done)
        return done;
    if (auto done = add_round_trips(**unsealed, "round_trip_unsealed", options, report); !done)
        return done;
    const auto ocalls = (*sealed)->run({.task = Task::ocall, .count = options.rounds, .size = 0});
    if (!ocalls) return std::unexpected{ocalls.error()};
    report.add("ocall", "ns", ocalls->ocalls_ns, with(options));
    const auto ecalls = (*sealed)->empty_ecalls(options.rounds);
    if (!ecalls) return std::unexpected{ecalls.error()};
    report.add("ecall", "ns", *ecalls, with(options));
    report.print(options.json);
    return {};
}

}  // namespace
}  // namespace sgm::bench

int main(int argc, char** argv) {
    CLI::App app{"Measures what the parts of a request cost alone"};
    sgm::bench::Options options;
    app.add_option("--rounds", options.rounds, "Samples of each")
        ->check(CLI::Range(2, 4000))
        ->capture_default_str();
    app.add_option("--transition-cycles", options.transition_cycles,
                   "Cycles to spend at each EENTER and EEXIT")
        ->capture_default_str();
    app.add_flag("--json", options.json, "JSON on stdout");
    CLI11_PARSE(app, argc, argv);
    if (const auto done = sgm::bench::run(options); !done) {
        fmt::print(stderr, "error: {}\n", done.error().sentence);
        return 1;
    }
    return 0;
}
