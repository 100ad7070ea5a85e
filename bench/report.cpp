// SPDX-License-Identifier: MIT
#include "bench/report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "cli/output.hpp"

namespace sgm::bench {
namespace {

double at_fraction(const Samples& sorted, double fraction) {
    const double place = fraction * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    const double part = place - static_cast<double>(below);
    return sorted[below] * (1 - part) + sorted[above] * part;
}

// The place of the least sample that the interval of the median holds; as many lie beyond its other
// end.
std::size_t place_of_low(std::size_t count) {
    const auto n = static_cast<double>(count);
    const double rank = std::round((n - 1.96 * std::sqrt(n)) / 2);
    return rank < 1 ? 0 : static_cast<std::size_t>(rank) - 1;
}

std::string shown(const Parameters& params) {
    std::string text;
    for (const auto& [name, value] : params.items())
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value.dump());
    return text;
}

}  // namespace

Summary summarise(Samples samples) {
    std::ranges::sort(samples);
    const std::size_t low = place_of_low(samples.size());
    return {.count = samples.size(),
            .median = at_fraction(samples, 0.5),
            .p5 = at_fraction(samples, 0.05),
            .p95 = at_fraction(samples, 0.95),
            .low = samples[low],
            .high = samples[samples.size() - 1 - low]};
}

double median(Samples samples) {
    return summarise(std::move(samples)).median;
}

void Report::add(std::string name, std::string unit, const Samples& samples,
                 const Parameters& params) {
    if (samples.empty()) return;
    results_.push_back({std::move(name), std::move(unit), summarise(samples), params});
}

void Report::add_ratio(std::string name, const Samples& samples, const Parameters& params) {
    if (samples.empty()) return;
    ratios_.push_back({std::move(name), "", summarise(samples), params});
}

void Report::print(bool json) const {
    if (json) {
        const auto array = [](const std::vector<Line>& lines) {
            auto out = nlohmann::ordered_json::array();
            for (const Line& line : lines) {
                nlohmann::ordered_json one{{"name", line.name}};
                if (!line.unit.empty()) one["unit"] = line.unit;
                one["n"] = line.summary.count;
                one["median"] = line.summary.median;
                one["p5"] = line.summary.p5;
                one["p95"] = line.summary.p95;
                one["low"] = line.summary.low;
                one["high"] = line.summary.high;
                one["params"] = line.params;
                out.push_back(one);
            }
            return out;
        };
        fmt::print("{}\n", nlohmann::ordered_json{{"program", program_},
                                                  {"results", array(results_)},
                                                  {"ratios", array(ratios_)}}
                               .dump(2));
        return;
    }
    cli::Table table{{{"name", "WHAT"},
                      {"median", "MEDIAN", cli::Align::right},
                      {"p5", "P5", cli::Align::right},
                      {"p95", "P95", cli::Align::right},
                      {"unit", "UNIT"},
                      {"n", "N", cli::Align::right},
                      {"params", "WITH"}}};
    const auto add = [&](const Line& line) {
        const auto number = [&](double value) {
            return line.unit.empty() ? fmt::format("{:.3f}", value) : fmt::format("{:.0f}", value);
        };
        table.add({line.name, number(line.summary.median), number(line.summary.p5),
                   number(line.summary.p95), line.unit, std::to_string(line.summary.count),
                   shown(line.params)});
    };
    std::ranges::for_each(results_, add);
    std::ranges::for_each(ratios_, add);
    fmt::print("{}", table.render(cli::Format::text));
}

}  // namespace sgm::bench
