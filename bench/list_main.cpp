// SPDX-License-Identifier: MIT
// How long the process list of a guest takes, unprotected and protected, by six methods that take
// turns in one run:
//   a  unprotected, field by field, a page walk for each     (bench/conventional.hpp)
//   b  unprotected, by hand, translations remembered         (the same)
//   c  enclave, a request and an OCALL for each field, not sealed
//   d  the same, sealed: the original SGmonitor
//   e  enclave, one `walk` over the ring, not sealed
//   f  the same, sealed: the product
// And beside them: b_walks, by hand with a page walk for each access; d_ring, as d but over the
// ring without OCALLs; f_woken, one list alone while the hypervisor process sleeps.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>

#include "bench/conventional.hpp"
#include "bench/report.hpp"
#include "bench/rig.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/ram_file.hpp"
#include "hypervisor/qemu/port.hpp"

namespace sgm::bench {
namespace {

using config::Error;
using config::Result;

struct Options {
    std::filesystem::path ram;
    std::vector<std::uint32_t> processes;
    std::uint32_t rounds = 100;
    std::uint32_t lists = 20;
    std::uint32_t lists_by_field = 1;
    std::uint32_t by_field_every = 1;
    std::uint32_t by_field_up_to = 16'000;
    std::uint64_t transition_cycles = 0;
    bool json = false;
};

double since_ns(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin)
        .count();
}

// One guest's RAM and every way to its process list.
class Subject final {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Subject>> open(const GuestRam& ram,
                                                               const std::filesystem::path& place,
                                                               const Options& options);
    ~Subject() { ::munmap(const_cast<std::uint8_t*>(mapped_.data()), mapped_.size()); }

    [[nodiscard]] Result<void> measure(const Options& options, Report& report);
    // Median of each method, for the slope.
    [[nodiscard]] const std::map<std::string, double>& medians() const { return medians_; }
    [[nodiscard]] std::size_t processes() const { return rows_.size(); }

  private:
    Subject(std::unique_ptr<qemu::MemoryFile> file, const GuestRam& ram)
        : domain_{std::move(file), ram.below_4g} {}

    // ns for one list, the median of a few made one after another.
    [[nodiscard]] Result<double> unprotected(const std::function<bool(Rows&)>& list,
                                             std::uint32_t count);
    [[nodiscard]] Result<double> protected_by(Rig& rig, Task task, std::uint32_t count);
    [[nodiscard]] Result<double> woken(Rig& rig);
    // `by_field`: c and d take part.
    [[nodiscard]] Result<std::map<std::string, double>> round(const Options& options,
                                                              bool by_field);

    guest::testing::RamFile domain_;
    Bytes mapped_;
    std::optional<guest::Kernel> kernel_;
    std::optional<HandWritten> by_hand_;
    std::unique_ptr<Rig> sealed_;
    std::unique_ptr<Rig> unsealed_;
    Rows rows_;
    std::map<std::string, double> medians_;
};

Result<std::unique_ptr<Subject>> Subject::open(const GuestRam& ram,
                                               const std::filesystem::path& place,
                                               const Options& options) {
    auto file = qemu::MemoryFile::open(ram.file);
    if (!file) return std::unexpected{file.error()};
    std::unique_ptr<Subject> subject{new Subject{std::move(*file), ram}};
    const config::Descriptor descriptor{::open(ram.file.c_str(), O_RDONLY | O_CLOEXEC)};
    void* memory = ::mmap(nullptr, ram.size, PROT_READ, MAP_SHARED, descriptor.get(), 0);
    if (memory == MAP_FAILED) return std::unexpected{Error{"the guest's RAM cannot be mapped"}};
    subject->mapped_ = {static_cast<const std::uint8_t*>(memory), ram.size};

    qemu::QemuPort port;
    guest::testing::DirectTransport transport{port, subject->domain_};
    guest::Memory guest_memory{transport};
    auto kernel = guest::Kernel::attach(guest_memory);
    if (!kernel) return std::unexpected{Error{kernel.error().why}};
    subject->kernel_ = std::move(*kernel);
    subject->by_hand_.emplace(subject->mapped_, ram.below_4g, *subject->kernel_);

    std::error_code ignored;
    std::filesystem::create_directory(place, ignored);
    for (const Sealing sealing : {Sealing::sealed, Sealing::unsealed}) {
        const bool seals = sealing == Sealing::sealed;
        auto rig = Rig::start(sealing, ram, place / (seals ? "sealed" : "unsealed"),
                              options.transition_cycles);
        if (!rig) return std::unexpected{rig.error()};
        (seals ? subject->sealed_ : subject->unsealed_) = std::move(*rig);
    }
    return subject;
}

Result<double> Subject::unprotected(const std::function<bool(Rows&)>& list, std::uint32_t count) {
    Samples times;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        if (!list(rows_)) return std::unexpected{Error{"an unprotected list met a fault"}};
        times.push_back(since_ns(begin));
    }
    return median(times);
}

Result<double> Subject::protected_by(Rig& rig, Task task, std::uint32_t count) {
    // One more to begin with: from its answer the others are counted.
    const auto outcome = rig.run({.task = task, .count = count + 1, .size = 0});
    if (!outcome) return std::unexpected{outcome.error()};
    Samples times;
    for (std::size_t i = 1; i < outcome->clocks.size(); ++i)
        times.push_back(static_cast<double>(outcome->clocks[i] - outcome->clocks[i - 1]));
    return median(times);
}

// One list alone, as a scan once a second meets it: the hypervisor sleeps and is woken for it.
Result<double> Subject::woken(Rig& rig) {
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
    const auto outcome = rig.run({.task = Task::list, .count = 1, .size = 0});
    if (!outcome) return std::unexpected{outcome.error()};
    return outcome->elapsed_ns;
}

Result<std::map<std::string, double>> Subject::round(const Options& options, bool by_field) {
    std::map<std::string, double> times;
    const auto add = [&](const std::string& name, const Result<double>& time) -> Result<void> {
        if (!time) return std::unexpected{time.error()};
        times[name] = *time;
        return {};
    };
    const auto field_by_field = [this](Rows& rows) {
        return list_by_field(domain_, *kernel_, rows);
    };
    const auto by_hand = [this](Rows& rows) { return by_hand_->list(rows); };
    const auto with_cache = [this](Rows& rows) { return by_hand_->list_with_cache(rows); };
    if (auto ok = add("f_woken", woken(*sealed_)); !ok) return std::unexpected{ok.error()};
    if (auto ok = add("a", unprotected(field_by_field, options.lists)); !ok)
        return std::unexpected{ok.error()};
    if (auto ok = add("b_walks", unprotected(by_hand, options.lists)); !ok)
        return std::unexpected{ok.error()};
    if (auto ok = add("b", unprotected(with_cache, options.lists)); !ok)
        return std::unexpected{ok.error()};
    if (by_field) {
        for (const auto& [name, rig, task] :
             {std::tuple{"c", unsealed_.get(), Task::list_by_field},
              std::tuple{"d", sealed_.get(), Task::list_by_field},
              std::tuple{"d_ring", sealed_.get(), Task::list_by_field_ring}}) {
            if (auto ok = add(name, protected_by(*rig, task, options.lists_by_field)); !ok)
                return std::unexpected{ok.error()};
        }
    }
    if (auto ok = add("e", protected_by(*unsealed_, Task::list, options.lists)); !ok)
        return std::unexpected{ok.error()};
    if (auto ok = add("f", protected_by(*sealed_, Task::list, options.lists)); !ok)
        return std::unexpected{ok.error()};
    return times;
}

Result<void> Subject::measure(const Options& options, Report& report) {
    std::map<std::string, Samples> samples;
    std::map<std::string, Samples> ratios;
    for (std::uint32_t i = 0; i < options.rounds; ++i) {
        const auto times =
            round(options, options.lists_by_field != 0 && i % options.by_field_every == 0);
        if (!times) return std::unexpected{times.error()};
        for (const auto& [name, time] : *times)
            samples[name].push_back(time);
        for (const auto& [over, under] : {std::pair{"c", "a"},
                                          {"d", "a"},
                                          {"d_ring", "a"},
                                          {"f", "a"},
                                          {"f", "b"},
                                          {"f", "b_walks"},
                                          {"f", "e"},
                                          {"d", "f"},
                                          {"f_woken", "a"}}) {
            if (times->contains(over) && times->contains(under))
                ratios[fmt::format("{}_over_{}", over, under)].push_back(times->at(over) /
                                                                         times->at(under));
        }
    }
    const Parameters params{{"processes", rows_.size()},
                            {"transition_cycles", options.transition_cycles}};
    for (const auto& [name, values] : samples) {
        report.add(name, "ns", values, params);
        medians_[name] = median(values);
    }
    for (const auto& [name, values] : ratios)
        report.add_ratio(name, values, params);
    return {};
}

// Least squares of the medians over the number of processes, for each method over the guests that
// it was measured on.
void add_slopes(const std::vector<std::pair<double, std::map<std::string, double>>>& points,
                const Options& options, Report& report) {
    std::map<std::string, std::vector<std::pair<double, double>>> methods;
    for (const auto& [processes, medians] : points) {
        for (const auto& [name, time] : medians)
            methods[name].emplace_back(processes, time);
    }
    const Parameters params{{"transition_cycles", options.transition_cycles}};
    for (const auto& [name, times] : methods) {
        if (times.size() < 2) continue;
        double n = 0;
        double sum_x = 0;
        double sum_y = 0;
        double sum_xx = 0;
        double sum_xy = 0;
        for (const auto& [x, y] : times) {
            n += 1;
            sum_x += x;
            sum_y += y;
            sum_xx += x * x;
            sum_xy += x * y;
        }
        const double slope = (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
        report.add(name + "_slope", "ns/process", {slope}, params);
        report.add(name + "_intercept", "ns", {(sum_y - slope * sum_x) / n}, params);
    }
}

Result<void> run(const Options& options) {
    Report report{"bench_list"};
    const Workplace workplace;
    std::vector<std::pair<double, std::map<std::string, double>>> points;
    const auto measure = [&](const GuestRam& ram, const std::string& place,
                             const Options& how) -> Result<void> {
        fmt::print(stderr, "  {}\n", place);
        auto subject = Subject::open(ram, workplace / place, how);
        if (!subject) return std::unexpected{subject.error()};
        if (auto done = (*subject)->measure(how, report); !done) return done;
        points.emplace_back((*subject)->processes(), (*subject)->medians());
        return {};
    };
    if (!options.ram.empty()) {
        const auto ram = open_ram(options.ram);
        if (!ram) return std::unexpected{ram.error()};
        if (auto done = measure(*ram, "guest", options); !done) return done;
    }
    for (const std::uint32_t count : options.processes) {
        const auto ram = make_ram(workplace, count);
        if (!ram) return std::unexpected{ram.error()};
        Options how = options;
        if (count > options.by_field_up_to) how.lists_by_field = 0;
        if (auto done = measure(*ram, fmt::format("synthetic-{}", count), how); !done) return done;
        std::filesystem::remove(ram->file);
    }
    add_slopes(points, options, report);
    report.print(options.json);
    return {};
}

}  // namespace
}  // namespace sgm::bench

int main(int argc, char** argv) {
    CLI::App app{"Measures the process list of a guest, unprotected and protected"};
    sgm::bench::Options options;
    app.add_option("--ram", options.ram, "The file behind a running guest's RAM");
    app.add_option("--processes", options.processes,
                   "Generated guests with so many processes (default, without --ram: 166)")
        ->delimiter(',')
        ->check(CLI::Range(1, 16'000));
    app.add_option("--rounds", options.rounds, "How often the methods take turns")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    app.add_option("--lists", options.lists, "Lists of each fast method in a round")
        ->check(CLI::Range(1, 4000))
        ->capture_default_str();
    app.add_option("--lists-by-field", options.lists_by_field, "Lists of c and d in a round")
        ->check(CLI::Range(0, 4000))
        ->capture_default_str();
    app.add_option("--by-field-every", options.by_field_every,
                   "c and d take part in every Nth round only")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    app.add_option("--by-field-up-to", options.by_field_up_to,
                   "c and d take part for generated guests of at most so many processes")
        ->capture_default_str();
    app.add_option("--transition-cycles", options.transition_cycles,
                   "Cycles to spend at each EENTER and EEXIT")
        ->capture_default_str();
    app.add_flag("--json", options.json, "JSON on stdout");
    CLI11_PARSE(app, argc, argv);
    if (options.ram.empty() && options.processes.empty()) options.processes = {166};
    if (const auto done = sgm::bench::run(options); !done) {
        fmt::print(stderr, "error: {}\n", done.error().sentence);
        return 1;
    }
    return 0;
}
