// SPDX-License-Identifier: MIT
#include "tests/relay/workers.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

namespace sgm::relay {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{100};
// A case takes a millisecond; with sanitizers on a busy machine perhaps a hundred.
constexpr std::chrono::seconds kHang{60};
constexpr std::size_t kMaxViolations = 32;
constexpr std::size_t kMaxRestarts = 16;

// What one worker has done, in memory that its parent sees.
struct Report {
    std::atomic<std::uint64_t> done;  // cases, in the worker's own order
    std::array<Counts, kAttackCount> attacks;
    std::uint32_t violations;
    struct {
        std::uint64_t number;  // among all chosen cases
        std::array<char, 160> what;
    } violation[kMaxViolations];
};

void note_violation(Report& report, std::uint64_t number, std::string_view what) {
    if (report.violations == kMaxViolations) return;
    auto& entry = report.violation[report.violations++];
    entry.number = number;
    entry.what.fill('\0');
    std::copy_n(what.begin(), std::min(what.size(), entry.what.size() - 1), entry.what.begin());
}

void note(Report& report, const Case& one, std::uint64_t number, const Result& result) {
    Counts& counts = report.attacks.at(static_cast<std::size_t>(one.attack));
    ++counts.cases;
    ++counts.outcomes.at(static_cast<std::size_t>(result.outcome));
    counts.ended += result.session_ended ? 1u : 0u;
    counts.recovered += result.violation.empty() ? 1u : 0u;
    counts.told += result.owner_told ? 1u : 0u;
    if (!result.violation.empty()) note_violation(report, number, result.violation);
}

class Workers final {
  public:
    Workers(Suite& suite, std::span<const Case> cases, std::uint32_t jobs, std::string_view wanted)
        : suite_{suite}, cases_{cases}, jobs_{jobs}, wanted_{wanted} {
        void* memory = ::mmap(nullptr, jobs * sizeof(Report), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) std::abort();
        reports_ = {static_cast<Report*>(memory), jobs};
        std::ranges::for_each(reports_, [](Report& report) { new (&report) Report{}; });
        for (std::uint32_t i = 0; i < jobs; ++i)
            start(i);
    }
    ~Workers() { ::munmap(reports_.data(), reports_.size_bytes()); }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    Tally run() {
        const bool terminal = ::isatty(STDERR_FILENO) != 0;
        auto next_line = steady_clock::now();
        while (std::ranges::any_of(workers_, [](const Worker& one) { return one.pid != 0; })) {
            std::this_thread::sleep_for(kLook);
            for (std::uint32_t i = 0; i < jobs_; ++i)
                look_at(i);
            if (steady_clock::now() < next_line) continue;
            next_line = steady_clock::now() + std::chrono::seconds{terminal ? 1 : 15};
            show_progress(terminal);
        }
        if (terminal) fmt::print(stderr, "\n");
        return tally();
    }

  private:
    struct Worker {
        pid_t pid = 0;  // 0: ended
        std::uint64_t seen = 0;
        steady_clock::time_point since;
    };

    // Case `i` of worker `w` is w + i * jobs.
    [[nodiscard]] std::uint64_t number_of(std::uint32_t worker, std::uint64_t i) const {
        return worker + i * jobs_;
    }

    void start(std::uint32_t worker) {
        if (workers_.size() <= worker) workers_.resize(worker + 1);
        std::fflush(nullptr);
        const pid_t pid = ::fork();
        if (pid < 0) std::abort();
        if (pid == 0) work(worker);
        workers_[worker] = {pid, reports_[worker].done, steady_clock::now()};
    }

    [[noreturn]] void work(std::uint32_t worker) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        Report& report = reports_[worker];
        for (;;) {
            const std::uint64_t number = number_of(worker, report.done);
            if (number >= cases_.size()) break;
            Result result = suite_.run(cases_[number]);
            if (!result.violation.contains(wanted_)) result.violation.clear();
            note(report, cases_[number], number, result);
            ++report.done;
            if (!wanted_.empty() && report.violations != 0) break;
        }
        ::_exit(0);
    }

    void look_at(std::uint32_t index) {
        Worker& worker = workers_[index];
        if (worker.pid == 0) return;
        int status = 0;
        if (::waitpid(worker.pid, &status, WNOHANG) == worker.pid) {
            worker.pid = 0;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
            give_up(index, WIFSIGNALED(status)
                               ? fmt::format("it crashed: {}", ::strsignal(WTERMSIG(status)))
                               : "it ended by itself; see above");
        } else if (worker.seen != reports_[index].done) {
            worker.seen = reports_[index].done;
            worker.since = steady_clock::now();
        } else if (steady_clock::now() - worker.since > kHang) {
            ::kill(worker.pid, SIGKILL);
            ::waitpid(worker.pid, &status, 0);
            worker.pid = 0;
            give_up(index, "it hung");
        }
    }

    // The case that the worker was at is lost; those after it are not.
    void give_up(std::uint32_t worker, std::string_view what) {
        Report& report = reports_[worker];
        if (what.contains(wanted_)) note_violation(report, number_of(worker, report.done), what);
        ++report.done;
        if (++restarts_ <= kMaxRestarts) start(worker);
    }

    void show_progress(bool terminal) const {
        std::uint64_t done = 0;
        std::uint64_t violations = 0;
        for (const Report& report : reports_) {
            done += report.done;
            violations += report.violations;
        }
        fmt::print(stderr, "{}{} of {} cases, {} violations{}", terminal ? "\r" : "", done,
                   cases_.size(), violations, terminal ? "" : "\n");
        std::fflush(stderr);
    }

    [[nodiscard]] Tally tally() const {
        Tally sum;
        for (const Report& report : reports_) {
            for (std::size_t i = 0; i < kAttackCount; ++i) {
                Counts& to = sum.attacks.at(i);
                const Counts& from = report.attacks.at(i);
                to.cases += from.cases;
                for (std::size_t k = 0; k < kOutcomeCount; ++k)
                    to.outcomes.at(k) += from.outcomes.at(k);
                to.ended += from.ended;
                to.recovered += from.recovered;
                to.told += from.told;
            }
            for (std::uint32_t i = 0; i < report.violations; ++i) {
                const auto& entry = report.violation[i];
                sum.violations.push_back({name(cases_[entry.number]), entry.what.data()});
            }
        }
        return sum;
    }

    Suite& suite_;
    std::span<const Case> cases_;
    const std::uint32_t jobs_;
    const std::string_view wanted_;
    std::span<Report> reports_;
    std::vector<Worker> workers_;
    std::size_t restarts_ = 0;
};

}  // namespace

Counts Tally::all() const {
    Counts sum;
    for (const Counts& one : attacks) {
        sum.cases += one.cases;
        for (std::size_t k = 0; k < kOutcomeCount; ++k)
            sum.outcomes.at(k) += one.outcomes.at(k);
        sum.ended += one.ended;
        sum.recovered += one.recovered;
        sum.told += one.told;
    }
    return sum;
}

Tally run_all(Suite& suite, std::span<const Case> cases, std::uint32_t jobs,
              std::string_view wanted) {
    return Workers{suite, cases, jobs, wanted}.run();
}

}  // namespace sgm::relay
