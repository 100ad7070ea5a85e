// SPDX-License-Identifier: MIT
// In dom0 of a Xen with SGmonitor in it. What the original experiment compared, on one domain:
//   conventional   foreign mappings, field by field, a page walk and a mapping for each
//   plain fields   a hypercall for each field, not sealed       (test build of Xen only)
//   sealed fields  an enclave: an OCALL and a hypercall for each field
//   plain walk     one `walk`, not sealed                       (test build of Xen only)
//   sealed walk    an enclave: one `walk`, the product
// The enclave is one of the benchmarks', in software SGX; its authority is played here, with a key
// that Xen was booted to believe.
#include <errno.h>
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "bench/by_field.hpp"
#include "bench/conventional.hpp"
#include "bench/mapped_domain.hpp"
#include "bench/report.hpp"
#include "bench/rig.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "guest/testing/direct_transport.hpp"
#include "host/xen_link.hpp"
#include "hypervisor/qemu/port.hpp"

namespace sgm::bench {
namespace {

using config::Error;
using config::Result;

struct Options {
    std::uint32_t domid = 0;
    std::uint64_t memory_mib = 160;
    std::vector<std::string> searched;
    std::string domain;
    std::filesystem::path authority_key;
    std::filesystem::path directory = "/tmp/bench_xen";
    std::uint32_t lists = 5;
};

// Requests in the clear, which only a test build of Xen takes.
class PlainTransport final : public guest::Transport {
  public:
    PlainTransport(host::XenOps ops, std::uint32_t domid) : ops_{std::move(ops)}, domid_{domid} {}

    std::expected<Bytes, guest::TransportError> exchange(Bytes batch) override {
        ++hypercalls;
        const auto answer = ops_.test_batch(domid_, batch);
        if (!answer) return std::unexpected{guest::TransportError::refused};
        return *answer;
    }

    std::uint64_t hypercalls = 0;

  private:
    host::XenOps ops_;
    std::uint32_t domid_;
};

struct Line {
    std::string method;
    double ms;
    std::size_t processes;
    std::uint64_t lists;  // of which `ms` is the median
    std::uint64_t hypercalls;
    std::uint64_t ocalls;
};

double since_ms(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
}

// Whoever is slow is not asked again.
constexpr double kEnoughMs = 20'000;

// How long each of at most so many lists took, in ms by `list`.
Result<Samples> repeat(std::uint32_t lists, const std::function<Result<double>()>& list) {
    Samples times;
    const auto begin = std::chrono::steady_clock::now();
    while (times.size() < lists && (times.empty() || since_ms(begin) < kEnoughMs)) {
        const auto time = list();
        if (!time) return std::unexpected{time.error()};
        times.push_back(*time);
    }
    return times;
}

// The median of at most so many lists; `list` gives how many processes it saw, `calls` counts what
// it asks of Xen.
Result<Line> measure(const std::string& method, std::uint32_t lists,
                     const std::function<std::size_t()>& list,
                     const std::function<std::uint64_t()>& calls) {
    std::size_t processes = 0;
    const std::uint64_t calls_before = calls();
    const auto times = repeat(lists, [&]() -> Result<double> {
        const auto begin = std::chrono::steady_clock::now();
        processes = list();
        if (processes == 0) return std::unexpected{Error{method + ": the list met a fault"}};
        return since_ms(begin);
    });
    if (!times) return std::unexpected{times.error()};
    return Line{.method = method,
                .ms = median(*times),
                .processes = processes,
                .lists = times->size(),
                .hypercalls = (calls() - calls_before) / times->size(),
                .ocalls = 0};
}

// Each "START-END", hexadecimal and guest-physical; in order.
Result<std::vector<wire::RamRange>> parse_ranges(const std::vector<std::string>& texts) {
    std::vector<wire::RamRange> ranges;
    for (const std::string& text : texts) {
        unsigned long long start = 0;
        unsigned long long end = 0;
        if (std::sscanf(text.c_str(), "%llx-%llx", &start, &end) != 2 || end <= start)
            return std::unexpected{Error{"--search must be START-END, hexadecimal: " + text}};
        ranges.push_back({.start = start, .size = end - start});
    }
    std::ranges::sort(ranges, {}, &wire::RamRange::start);
    return ranges;
}

// Reads the domain as anybody in dom0 can.
class Conventional final {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Conventional>> attach(const Options& options) {
        auto domain = MappedDomain::open(options.domid, options.memory_mib << 20);
        if (!domain) return std::unexpected{domain.error()};
        if (!options.searched.empty()) {
            auto ranges = parse_ranges(options.searched);
            if (!ranges) return std::unexpected{ranges.error()};
            domain->search_only(std::move(*ranges));
        }
        std::unique_ptr<Conventional> reader{new Conventional{std::move(*domain)}};
        qemu::QemuPort clock_and_randomness;
        guest::testing::DirectTransport transport{clock_and_randomness, reader->domain_};
        guest::Memory memory{transport};
        auto kernel = guest::Kernel::attach(memory);
        if (!kernel) {
            return std::unexpected{Error{
                fmt::format("domain {} cannot be read by foreign mappings: {} (Xen refused {} of "
                            "the pages that were asked for)",
                            options.domid, kernel.error().why, reader->domain_.refused())}};
        }
        reader->kernel_ = std::move(*kernel);
        return reader;
    }
    // From now on each page is mapped for each read, as the usual tools do.
    void map_for_each_read() { domain_.keep_mappings(false); }
    [[nodiscard]] std::size_t list() {
        return list_by_field(domain_, *kernel_, rows_) ? rows_.size() : 0;
    }
    [[nodiscard]] const Rows& rows() const { return rows_; }
    [[nodiscard]] std::uint64_t maps() const { return domain_.maps(); }

  private:
    explicit Conventional(MappedDomain domain) : domain_{std::move(domain)} {}
    MappedDomain domain_;
    std::optional<guest::Kernel> kernel_;
    Rows rows_;
};

Result<void> conventional(const Options& options) {
    auto reader = Conventional::attach(options);
    if (!reader) return std::unexpected{reader.error()};
    if ((*reader)->list() == 0) return std::unexpected{Error{"the list met a fault"}};
    for (const wire::ProcessRow& row : (*reader)->rows())
        fmt::print("{} {}\n", row.pid,
                   std::string{row.comm.data(), ::strnlen(row.comm.data(), row.comm.size())});
    return {};
}

Result<Line> sealed(Rig& rig, const std::string& method, Task task, std::uint32_t lists) {
    Line line{.method = method, .ms = 0, .processes = 0, .lists = 0, .hypercalls = 0, .ocalls = 0};
    const auto times = repeat(lists, [&]() -> Result<double> {
        const auto outcome = rig.run({.task = task, .count = 1, .size = 0});
        if (!outcome) return std::unexpected{outcome.error()};
        line.processes = outcome->result.rows;
        line.ocalls = outcome->hypervisor_ocalls;
        line.hypercalls = outcome->hypervisor_ocalls;
        return outcome->elapsed_ns / 1e6;
    });
    if (!times) return std::unexpected{times.error()};
    line.lists = times->size();
    line.ms = median(*times);
    return line;
}

Result<std::vector<Line>> measure_all(const Options& options) {
    std::vector<Line> lines;
    const auto add = [&](Result<Line> line) -> Result<void> {
        if (!line) return std::unexpected{line.error()};
        lines.push_back(std::move(*line));
        return {};
    };

    auto mapped = Conventional::attach(options);
    if (!mapped) return std::unexpected{mapped.error()};
    (*mapped)->map_for_each_read();
    if (auto ok = add(measure(
            "conventional: foreign mappings", options.lists, [&] { return (*mapped)->list(); },
            [&] { return (*mapped)->maps(); }));
        !ok)
        return std::unexpected{ok.error()};

    auto ops = host::XenOps::open(host::linux_privcmd());
    if (!ops) return std::unexpected{Error{ops.error()}};
    PlainTransport plain{std::move(*ops), options.domid};
    guest::Memory memory{plain};
    const auto kernel = guest::Kernel::attach(memory);
    auto key = config::load_signing_key_pair(options.authority_key);
    if (!key) return std::unexpected{key.error()};
    auto link = host::XenLink::create(host::linux_privcmd());
    if (!link) return std::unexpected{Error{link.error()}};
    const auto domain = config::parse_uuid(options.domain);
    if (!domain) return std::unexpected{Error{"--domain must be a UUID"}};
    std::filesystem::create_directories(options.directory);
    auto rig = Rig::start(Rig::Elsewhere{.hypervisor = std::move(*link),
                                         .domain = *domain,
                                         .authority = std::move(*key),
                                         .patience = std::chrono::seconds{300}},
                          options.directory);
    if (!rig) return std::unexpected{rig.error()};

    const auto add_plain = [&](const std::string& method,
                               const std::function<std::size_t()>& list) -> Result<void> {
        if (!kernel) return {};  // not a test build
        return add(measure(method, options.lists, list, [&] { return plain.hypercalls; }));
    };
    if (auto ok = add_plain("a hypercall for each field, plain",
                            [&]() -> std::size_t {
                                const auto rows = list_by_field(memory, *kernel);
                                return rows ? rows->size() : 0;
                            });
        !ok)
        return std::unexpected{ok.error()};
    if (auto ok = add(sealed(**rig, "a hypercall for each field, sealed", Task::list_by_field,
                             options.lists));
        !ok)
        return std::unexpected{ok.error()};
    if (auto ok = add_plain("one walk, plain",
                            [&]() -> std::size_t {
                                const auto rows = guest::list_processes(memory, *kernel);
                                return rows ? rows->size() : 0;
                            });
        !ok)
        return std::unexpected{ok.error()};
    if (auto ok = add(sealed(**rig, "one walk, sealed (SGmonitor)", Task::list, options.lists));
        !ok)
        return std::unexpected{ok.error()};
    return lines;
}

Result<void> table(const Options& options) {
    const auto lines = measure_all(options);
    if (!lines) return std::unexpected{lines.error()};
    auto rows = nlohmann::json::array();
    for (const Line& line : *lines)
        rows.push_back({{"method", line.method},
                        {"ms", line.ms},
                        {"processes", line.processes},
                        {"lists", line.lists},
                        {"hypercalls", line.hypercalls},
                        {"ocalls", line.ocalls}});
    fmt::print("{}\n", rows.dump());
    return {};
}

}  // namespace
}  // namespace sgm::bench

int main(int argc, char** argv) {
    using namespace sgm::bench;
    CLI::App app{"Reads the process list of a Xen domain from dom0, by several methods"};
    app.require_subcommand(1);
    Options options;
    const auto add = [&](const char* name, const char* help) {
        CLI::App* command = app.add_subcommand(name, help);
        command->add_option("--domid", options.domid, "Its number (xl list)")->required();
        command->add_option("--memory-mib", options.memory_mib, "How much memory it has")
            ->capture_default_str();
        command->add_option("--search", options.searched,
                            "START-END, hexadecimal: where VMCOREINFO and the kernel's tables are "
                            "looked for (all of its memory)");
        return command;
    };
    CLI::App* const list = add("conventional", "By foreign mappings, as any program in dom0 can");
    CLI::App* const compare = add("table", "Times of all methods, as JSON");
    compare->add_option("--domain", options.domain, "Its uuid")->required();
    compare->add_option("--authority-key", options.authority_key, "Whom Xen believes")->required();
    compare->add_option("--directory", options.directory, "For the enclave")->capture_default_str();
    compare->add_option("--lists", options.lists, "Lists of each method; the median counts")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    const auto done = list->parsed() ? conventional(options) : table(options);
    if (!done) {
        fmt::print(stderr, "error: {}\n", done.error().sentence);
        return 1;
    }
    return 0;
}
