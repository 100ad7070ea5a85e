// SPDX-License-Identifier: MIT
// What a scan costs. First the whole life of the IDS between two waits, the product's own loop
// compiled for the host: list, all checks, digest, sealed heartbeat, a look for the owner's
// commands; its clock leaps over the waits. With --paced, an enclave that lists at a rate that is
// told on stdin, for somebody who measures what that does to the guest. With --fleet, many guests
// at once, each with an enclave and a hypervisor process of its own and listed once a second.
#include <fmt/core.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/report.hpp"
#include "bench/rig.hpp"
#include "crypto/hash.hpp"
#include "guest/testing/ram_file.hpp"
#include "hypervisor/core/core.hpp"
#include "hypervisor/qemu/port.hpp"
#include "ids/environment.hpp"
#include "ids/watcher.hpp"
#include "sgx/enclave/testing/fake_seal_keys.hpp"
#include "wire/attestation.hpp"
#include "wire/owner.hpp"
#include "wire/ring.hpp"

namespace sgm::bench {
namespace {

using config::Error;
using config::Result;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kIntervalMs = 1000;
constexpr std::uint32_t kWarmUp = 5;  // the first scan attaches

struct Options {
    std::filesystem::path ram;
    std::uint32_t scans = 200;
    bool paced = false;
    std::uint32_t fleet = 0;
    std::uint32_t windows = 5;
    bool json = false;
};

// Real time, and on top of it the waits that nobody waited for.
class LeapingPort final : public hypervisor::Port {
  public:
    explicit LeapingPort(hypervisor::Domain& domain) : domain_{domain} {}
    void leap(std::uint64_t ns) { leapt_ += ns; }

    std::string_view name() const override { return "bench"; }
    std::uint64_t now_ns() override { return port_.now_ns() + leapt_; }
    bool random(MutableBytes out) override { return port_.random(out); }
    hypervisor::Domain* find(const wire::Uuid& uuid) override {
        return uuid == domain_.uuid() ? &domain_ : nullptr;
    }

  private:
    hypervisor::Domain& domain_;
    qemu::QemuPort port_;
    std::uint64_t leapt_ = 0;
};

// Hypervisor, authority and owner in this process. It times what passes between two waits.
class Surroundings final : public ids::Environment {
  public:
    Surroundings(hypervisor::Domain& domain, std::uint32_t scans)
        : domain_{domain}, port_{domain}, waits_left_{scans + kWarmUp} {}

    [[nodiscard]] wire::EnclaveResult watch() {
        return ids::watch(*this, authority_.public_key(), domain_.uuid(), kIntervalMs);
    }
    [[nodiscard]] const Samples& scans() const { return scans_; }
    [[nodiscard]] std::size_t owner_messages() const { return owner_messages_; }
    [[nodiscard]] const std::string& log() const { return log_; }

    std::expected<std::size_t, ids::EnvironmentError> call_hypervisor(Bytes call,
                                                                      MutableBytes reply) override {
        // As through the ring: the core wants room for the longest reply, whatever the IDS expects.
        const std::size_t size = core_.sgm_op(call, ring_);
        if (size > reply.size()) return std::unexpected(ids::EnvironmentError::too_large);
        std::copy_n(ring_.begin(), size, reply.begin());
        return size;
    }
    std::expected<void, ids::EnvironmentError> send(wire::Peer peer, Bytes message) override {
        if (peer == wire::Peer::authority) verdict_ = approve(message, authority_, owner_);
        if (peer == wire::Peer::owner) ++owner_messages_;
        if (peer == wire::Peer::log) log_ += std::string{message.begin(), message.end()} + "\n";
        return {};
    }
    std::expected<std::size_t, ids::EnvironmentError> receive(wire::Peer peer, std::uint64_t,
                                                              MutableBytes into) override {
        if (peer == wire::Peer::owner || peer == wire::Peer::storage)
            return std::unexpected(ids::EnvironmentError::nothing);
        // The authority played here believes any quote.
        const Message message = peer == wire::Peer::authority ? verdict_ : Message{1};
        std::ranges::copy(message, into.begin());
        return message.size();
    }
    std::expected<void, ids::EnvironmentError> wait(std::uint64_t wait_ns) override {
        const auto now = Clock::now();
        if (waits_left_-- == 0) return std::unexpected(ids::EnvironmentError::stopped);
        if (++waits_ > kWarmUp)
            scans_.push_back(std::chrono::duration<double, std::nano>(now - resumed_).count());
        port_.leap(wait_ns);
        resumed_ = Clock::now();
        return {};
    }
    std::expected<std::array<std::uint8_t, 432>, ids::EnvironmentError> report(
        const std::array<std::uint8_t, 64>&) override {
        return std::array<std::uint8_t, 432>{};
    }
    enclave::SealKeys& seal_keys() override { return cpu_; }

  private:
    hypervisor::Domain& domain_;
    LeapingPort port_;
    enclave::testing::FakeSealKeys cpu_;
    crypto::SigningKeyPair authority_ = crypto::SigningKeyPair::generate().value();
    wire::OwnerKeys owner_{crypto::SigningKeyPair::generate().value().public_key(),
                           crypto::SealingKeyPair::generate().value().public_key()};
    hypervisor::Core core_{port_, crypto::SealingKeyPair::generate().value(),
                           authority_.public_key(), /*allow_software_sgx=*/true};
    Message verdict_;
    Message ring_ = Message(wire::kRingMaxReply);
    std::string log_;
    std::uint32_t waits_left_;
    std::uint32_t waits_ = 0;
    std::size_t owner_messages_ = 0;
    Samples scans_;
    Clock::time_point resumed_{};
};

Result<void> whole_scans(const GuestRam& ram, const Options& options) {
    auto file = qemu::MemoryFile::open(ram.file);
    if (!file) return std::unexpected{file.error()};
    guest::testing::RamFile domain{std::move(*file), ram.below_4g};
    Surroundings surroundings{domain, options.scans};
    static_cast<void>(surroundings.watch());
    if (surroundings.owner_messages() < options.scans)
        return std::unexpected{
            Error{"the IDS made fewer heartbeats than scans:\n" + surroundings.log()}};
    Report report{"bench_scan"};
    report.add("whole scan", "ns", surroundings.scans(), Parameters::object());
    report.print(options.json);
    return {};
}

double process_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// Lines of "RATE SECONDS"; after each, one line of JSON: how many lists there were.
Result<void> paced(const GuestRam& ram) {
    const Workplace workplace;
    const auto rig = Rig::start(Sealing::sealed, ram, workplace / "enclave", 0);
    if (!rig) return std::unexpected{rig.error()};
    fmt::print("{{\"ready\": true}}\n");
    std::fflush(stdout);
    double rate = 0;
    double seconds = 0;
    while (std::cin >> rate >> seconds) {
        const auto begin = Clock::now();
        const double began_ns = process_ns();
        const auto end = begin + std::chrono::duration<double>{seconds};
        std::uint32_t lists = 0;
        Samples times;
        if (rate > 0) {
            for (auto next = begin; next < end;
                 next = begin + std::chrono::duration_cast<Clock::duration>(
                                    std::chrono::duration<double>{++lists / rate})) {
                std::this_thread::sleep_until(next);
                const auto outcome = (*rig)->run({.task = Task::list, .count = 1, .size = 0});
                if (!outcome) return std::unexpected{outcome.error()};
                times.push_back(outcome->elapsed_ns);
            }
        }
        std::this_thread::sleep_until(end);
        fmt::print("{}\n", nlohmann::json{{"lists", lists},
                                          {"median_ns", times.empty() ? 0 : median(times)},
                                          {"own_cpu_ns", process_ns() - began_ns}}
                               .dump());
        std::fflush(stdout);
    }
    return {};
}

// Time on a processor of all threads of a process and of what descends from it.
double family_ns(const std::filesystem::path& process) {
    double total = 0;
    std::error_code ended;  // what ends meanwhile is not counted
    for (const auto& task : std::filesystem::directory_iterator{process / "task", ended}) {
        double on_cpu = 0;
        if (std::ifstream{task.path() / "schedstat"} >> on_cpu) total += on_cpu;
        std::ifstream children{task.path() / "children"};
        for (std::string child; children >> child;)
            total += family_ns("/proc/" + child);
    }
    return total;
}

// Guests that exist, and not one whose share is multiplied: caches and wakes are as many VMs have
// them. They take turns through the second, as timers of their own would have them.
Result<void> fleet(const GuestRam& ram, const Options& options) {
    constexpr std::chrono::seconds kWindow{2};
    const Workplace workplace;
    std::vector<std::unique_ptr<Rig>> rigs;
    for (std::uint32_t i = 0; i < options.fleet; ++i) {
        GuestRam own{workplace / fmt::format("ram-{}", i), ram.size, ram.below_4g};
        std::filesystem::copy_file(ram.file, own.file);
        auto rig = Rig::start(Sealing::sealed, own, workplace / fmt::format("rig-{}", i), 0);
        if (!rig) return std::unexpected{rig.error()};
        rigs.push_back(std::move(*rig));
    }
    Samples carried;
    Samples lists;
    for (std::uint32_t window = 0; window < options.windows; ++window) {
        const auto begin = Clock::now();
        const double used_before = family_ns("/proc/self");
        const std::uint32_t turns = options.fleet * static_cast<std::uint32_t>(kWindow.count());
        for (std::uint32_t turn = 0; turn < turns; ++turn) {
            std::this_thread::sleep_until(begin + turn * Clock::duration{kWindow} / turns);
            const auto outcome =
                rigs[turn % rigs.size()]->run({.task = Task::list, .count = 1, .size = 0});
            if (!outcome) return std::unexpected{outcome.error()};
            lists.push_back(outcome->elapsed_ns);
        }
        std::this_thread::sleep_until(begin + kWindow);
        const double passed =
            std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
        carried.push_back(options.fleet * passed / (family_ns("/proc/self") - used_before));
    }
    Report report{"bench_scan --fleet"};
    const Parameters params{{"guests", options.fleet}, {"lists_a_second", 1}};
    report.add("VMs a core carries", "VMs", carried, params);
    report.add("one list", "ns", lists, params);
    report.print(options.json);
    return {};
}

Result<void> run(const Options& options) {
    const Workplace workplace;
    const auto ram = options.ram.empty() ? make_ram(workplace, 211) : open_ram(options.ram);
    if (!ram) return std::unexpected{ram.error()};
    if (options.fleet != 0) return fleet(*ram, options);
    return options.paced ? paced(*ram) : whole_scans(*ram, options);
}

}  // namespace
}  // namespace sgm::bench

int main(int argc, char** argv) {
    CLI::App app{"Measures scans of a guest"};
    sgm::bench::Options options;
    app.add_option("--ram", options.ram,
                   "The file behind a guest's RAM (default: generated, 211 processes)");
    app.add_option("--scans", options.scans, "How many")
        ->check(CLI::Range(1, 100'000))
        ->capture_default_str();
    app.add_flag("--paced", options.paced, "Scan as stdin says: lines of RATE SECONDS");
    app.add_option("--fleet", options.fleet, "List so many guests once a second")
        ->check(CLI::Range(1, 256));
    app.add_option("--windows", options.windows, "With --fleet: how many times two seconds")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_flag("--json", options.json, "JSON on stdout");
    CLI11_PARSE(app, argc, argv);
    if (const auto done = sgm::bench::run(options); !done) {
        fmt::print(stderr, "error: {}\n", done.error().sentence);
        return 1;
    }
    return 0;
}
