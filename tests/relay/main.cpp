// SPDX-License-Identifier: MIT
// Every attack of a relay on a whole conversation, in one table. Exit status: 0 when all that must
// hold held, 1 when not (with --must-find: when what it says was found), 2 when called wrongly.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <numeric>
#include <set>

#include "cli/output.hpp"
#include "tests/relay/memory.hpp"
#include "tests/relay/random.hpp"
#include "tests/relay/suite.hpp"
#include "tests/relay/workers.hpp"

namespace sgm::relay {
namespace {

struct Options {
    std::string only;
    std::uint32_t sample = 1;
    std::uint32_t jobs = 2;
    bool json = false;
    std::string must_find;
};

constexpr std::array<std::string_view, kOutcomeCount> kOutcomeKeys = {"refused_by_hypervisor",
                                                                      "refused_by_ids",
                                                                      "refused_by_authority",
                                                                      "refusal_believed",
                                                                      "unanswered",
                                                                      "delayed",
                                                                      "unharmed"};
constexpr std::array<std::string_view, kOutcomeCount> kOutcomeTitles = {
    "BY HYPERVISOR", "BY IDS", "BY AUTHORITY", "IN THE CLEAR", "UNANSWERED", "DELAYED", "UNHARMED"};

cli::Table outcome_table(const Tally& tally) {
    using cli::Align;
    std::vector<cli::Column> columns = {{"attack", "ATTACK"}, {"cases", "CASES", Align::right}};
    for (std::size_t i = 0; i < kOutcomeCount; ++i)
        columns.push_back(
            {std::string{kOutcomeKeys.at(i)}, std::string{kOutcomeTitles.at(i)}, Align::right});
    columns.push_back({"sessions_ended", "ENDED", Align::right});
    columns.push_back({"recovered", "RECOVERED", Align::right});
    columns.push_back({"owner_told", "OWNER TOLD", Align::right});
    cli::Table table{std::move(columns)};
    const auto add = [&table](std::string_view attack, const Counts& counts) {
        std::vector<cli::Cell> row{std::string{attack}, counts.cases};
        for (const std::uint64_t outcome : counts.outcomes)
            row.emplace_back(outcome);
        row.insert(row.end(), {counts.ended, counts.recovered, counts.told});
        table.add(std::move(row));
    };
    for (std::size_t i = 0; i < kAttackCount; ++i)
        add(text(static_cast<Attack>(i)), tally.attacks.at(i));
    add("all", tally.all());
    return table;
}

void print(const Options& options, std::span<const std::size_t> sizes, std::size_t all_cases,
           const Tally& tally, std::chrono::milliseconds took) {
    const auto format = options.json ? cli::Format::json : cli::Format::text;
    cli::Record record;
    record.add("messages", "messages", std::uint64_t{sizes.size()});
    record.add("bytes", "bytes", std::uint64_t{std::reduce(sizes.begin(), sizes.end())});
    record.add("all_cases", "cases of this conversation", std::uint64_t{all_cases});
    record.add("cases", "cases carried out", tally.all().cases);
    record.add(
        "sample", "sample",
        {cli::Value{std::uint64_t{options.sample}},
         options.sample == 1 ? "every case" : fmt::format("every {}th case", options.sample)});
    record.add("milliseconds", "time",
               {cli::Value{std::int64_t{took.count()}},
                fmt::format("{:.1f} s, {} at a time", static_cast<double>(took.count()) / 1e3,
                            options.jobs)});
    record.add("violations", "violations", std::uint64_t{tally.violations.size()});
    record.add("outcomes", outcome_table(tally));
    if (!tally.violations.empty()) {
        cli::Table table{{{"case", "CASE"}, {"what", "WHAT DID NOT HOLD"}}};
        for (const Violation& one : tally.violations)
            table.add({one.name, one.what});
        record.add("violation_list", std::move(table));
    }
    fmt::print("{}", record.render(format));
}

// Every `sample`th case, and of each attack on each message at least one; of messages put in place
// of others, all.
std::vector<Case> sampled(const std::vector<Case>& cases, std::uint32_t sample) {
    std::vector<Case> out;
    std::set<std::pair<Attack, std::uint32_t>> seen;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const bool first = seen.emplace(cases[i].attack, cases[i].message).second;
        const bool foreign = cases[i].attack == Attack::other_session ||
                             cases[i].attack == Attack::other_domain ||
                             cases[i].attack == Attack::older_epoch;
        if (i % sample == 0 || first || foreign) out.push_back(cases[i]);
    }
    return out;
}

int run(const Options& options) {
    const auto begin = std::chrono::steady_clock::now();
    make_randomness_repeatable();
    begin_randomness_anew();
    remember_public_key_operations();
    const auto suite = std::make_unique<Suite>();
    const std::vector<Case> cases = all_cases(suite->sizes());
    std::vector<Case> chosen = sampled(cases, options.sample);
    if (!options.only.empty()) {
        const auto one = parse_case(options.only);
        if (!one || one->message >= suite->sizes().size() || one->later >= suite->sizes().size()) {
            fmt::print(stderr,
                       "error: {} is no case of this conversation; a case is called as in "
                       "`flip:12:0:345`\n",
                       options.only);
            return 2;
        }
        chosen = {*one};
    }
    Tally tally;
    if (!suite->honest_violation().empty() &&
        suite->honest_violation().contains(options.must_find)) {
        tally.violations.push_back({"no attack", suite->honest_violation()});
    } else {
        tally = run_all(*suite, chosen, options.jobs, options.must_find);
    }
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    print(options, suite->sizes(), cases.size(), tally, took);
    const bool found = !tally.violations.empty();
    if (!options.must_find.empty() && !found) {
        fmt::print(stderr, "error: nothing was found of: {}\n", options.must_find);
    }
    return found == options.must_find.empty() ? 1 : 0;
}

}  // namespace
}  // namespace sgm::relay

int main(int count, char** arguments) {
    CLI::App app{"Every attack of a relay between an IDS and the hypervisor, one by one."};
    sgm::relay::Options options;
    app.add_option("--case", options.only, "only this one, as `flip:12:0:345`");
    app.add_option("--sample", options.sample, "every Nth case")->check(CLI::PositiveNumber);
    app.add_option("--jobs", options.jobs, "processes")->check(CLI::Range(1, 64));
    app.add_flag("--json", options.json, "for programs");
    app.add_option("--must-find", options.must_find,
                   "stop at the first violation that says this, and fail when there is none");
    CLI11_PARSE(app, count, arguments);
    return sgm::relay::run(options);
}
