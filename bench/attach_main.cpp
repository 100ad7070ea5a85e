// SPDX-License-Identifier: MIT
// How long it takes from nothing to the first process list of a guest, stage by stage: a Kernel is
// attached through the hypervisor core again and again, each time with a memory file that was just
// opened, and beside it the same steps are taken one at a time. Then the whole of it in an enclave.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <utility>

#include "bench/report.hpp"
#include "bench/rig.hpp"
#include "guest/linux/kernel.hpp"
#include "guest/linux/tasks.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/ram_file.hpp"
#include "hypervisor/qemu/port.hpp"

namespace sgm::bench {
namespace {

using config::Error;
using config::Result;

struct Options {
    std::filesystem::path ram;
    std::string guest = "generated";
    std::uint32_t rounds = 20;
    std::uint32_t enclaves = 3;
    bool json = false;
};

// A domain nobody has looked at yet, and the way to it.
class Fresh final {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Fresh>> open(const GuestRam& ram) {
        auto file = qemu::MemoryFile::open(ram.file);
        if (!file) return std::unexpected{file.error()};
        return std::unique_ptr<Fresh>{new Fresh{std::move(*file), ram.below_4g}};
    }
    [[nodiscard]] guest::Memory& memory() { return memory_; }

  private:
    Fresh(std::unique_ptr<qemu::MemoryFile> file, std::uint64_t below_4g)
        : domain_{std::move(file), below_4g} {}

    guest::testing::RamFile domain_;
    qemu::QemuPort port_;
    guest::testing::DirectTransport transport_{port_, domain_};
    guest::Memory memory_{transport_};
};

class Stages final {
  public:
    explicit Stages(std::map<std::string, Samples>& samples) : samples_{samples} {}
    // What passed since the last stage ended belongs to this one.
    void end(const std::string& name) {
        const auto now = std::chrono::steady_clock::now();
        samples_[name].push_back(std::chrono::duration<double, std::nano>(now - last_).count());
        last_ = now;
    }

  private:
    std::map<std::string, Samples>& samples_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::unexpected<Error> not_understood(std::string_view what) {
    return std::unexpected{Error{fmt::format("this guest cannot be measured: {}", what)}};
}

// The steps of Kernel::attach, from the same parts.
Result<void> take_steps(const GuestRam& ram, std::map<std::string, Samples>& samples) {
    auto fresh = Fresh::open(ram);
    if (!fresh) return std::unexpected{fresh.error()};
    guest::Memory& memory = (*fresh)->memory();
    Stages stages{samples};
    const auto description = memory.describe();
    if (!description) return not_understood(describe(description.error()));
    std::vector<std::uint64_t> pages;
    for (const wire::RamRange& range : description->ranges) {
        const auto found = memory.search(
            {.pattern = {reinterpret_cast<const std::uint8_t*>(guest::kVmcoreinfoStart.data()),
                         guest::kVmcoreinfoStart.size()},
             .alignment = 4096,
             .start = range.start,
             .end = range.start + range.size,
             .max_matches = 4096});
        if (!found) return not_understood(describe(found.error()));
        pages.insert(pages.end(), found->addresses.begin(), found->addresses.end());
    }
    stages.end("search for VMCOREINFO");

    std::optional<guest::Vmcoreinfo> info;
    for (const std::uint64_t page : pages) {
        std::array<std::uint8_t, guest::kVmcoreinfoSize> bytes{};
        if (!memory.read(guest::kPhysical, page, bytes)) continue;
        if (auto parsed = guest::parse_vmcoreinfo(bytes)) info = std::move(*parsed);
    }
    if (!info) return not_understood("it has no VMCOREINFO");
    stages.end("VMCOREINFO");
    const auto symbols = guest::Kallsyms::load(memory, *info);
    if (!symbols) return not_understood(text(symbols.error()));
    stages.end("kallsyms");
    std::array<guest::SymbolQuery, 2> queries{guest::SymbolQuery{"__start_BTF"},
                                              guest::SymbolQuery{"__stop_BTF"}};
    symbols->find(queries);
    stages.end("look up symbols");
    const auto& [start, stop] = queries;
    if (!start.found || !stop.found || stop.address < start.address ||
        stop.address - start.address > guest::kMaxBtfSize)
        return not_understood("it has no BTF");
    std::vector<std::uint8_t> raw(stop.address - start.address);
    if (!memory.read(info->space(), start.address, raw)) return not_understood("no BTF");
    stages.end("read BTF");
    const auto btf = guest::Btf::parse(std::move(raw));
    if (!btf) return not_understood(text(btf.error()));
    stages.end("parse BTF");
    if (const auto layout = guest::derive_layout(*btf); !layout)
        return not_understood(describe(layout.error()));
    stages.end("layout");
    return {};
}

// Kernel::attach, the first list, and lists after it with all checks.
Result<std::size_t> take_it_whole(const GuestRam& ram, std::map<std::string, Samples>& samples) {
    auto fresh = Fresh::open(ram);
    if (!fresh) return std::unexpected{fresh.error()};
    guest::Memory& memory = (*fresh)->memory();
    Stages stages{samples};
    const auto kernel = guest::Kernel::attach(memory);
    if (!kernel) return not_understood(kernel.error().why);
    stages.end("attach, all of it");
    auto processes = guest::list_processes(memory, *kernel);
    if (!processes) return not_understood(describe(processes.error()));
    stages.end("first list");
    return processes->size();
}

Result<void> run(const Options& options) {
    const Workplace workplace;
    const auto ram = options.ram.empty() ? make_ram(workplace, 166) : open_ram(options.ram);
    if (!ram) return std::unexpected{ram.error()};

    std::map<std::string, Samples> samples;
    std::size_t processes = 0;
    for (std::uint32_t i = 0; i < options.rounds; ++i) {
        if (auto done = take_steps(*ram, samples); !done) return done;
        const auto listed = take_it_whole(*ram, samples);
        if (!listed) return std::unexpected{listed.error()};
        processes = *listed;
    }
    for (std::uint32_t i = 0; i < options.enclaves; ++i) {
        const auto rig =
            Rig::start(Sealing::sealed, *ram, workplace / fmt::format("enclave-{}", i), 0);
        if (!rig) return std::unexpected{rig.error()};
        samples["register and attach, in an enclave"].push_back((*rig)->start_ns());
    }

    Report report{"bench_attach"};
    const Parameters params{{"guest", options.guest}, {"processes", processes}};
    for (const char* name : {"search for VMCOREINFO", "VMCOREINFO", "kallsyms", "look up symbols",
                             "read BTF", "parse BTF", "layout", "first list", "attach, all of it",
                             "register and attach, in an enclave"})
        report.add(name, "ns", samples[name], params);
    report.print(options.json);
    return {};
}

}  // namespace
}  // namespace sgm::bench

int main(int argc, char** argv) {
    CLI::App app{"Measures how long it takes to find and understand a guest's kernel"};
    sgm::bench::Options options;
    app.add_option("--ram", options.ram,
                   "The file behind a guest's RAM (default: a small generated guest)");
    app.add_option("--guest", options.guest, "What to call it")->capture_default_str();
    app.add_option("--rounds", options.rounds, "How often everything is done")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    app.add_option("--enclaves", options.enclaves, "How often with an enclave of its own")
        ->check(CLI::Range(0, 1000))
        ->capture_default_str();
    app.add_flag("--json", options.json, "JSON on stdout");
    CLI11_PARSE(app, argc, argv);
    if (const auto done = sgm::bench::run(options); !done) {
        fmt::print(stderr, "error: {}\n", done.error().sentence);
        return 1;
    }
    return 0;
}
