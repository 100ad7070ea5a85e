// SPDX-License-Identifier: MIT
// What a benchmark program found, for people or for programs: samples in, medians out.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sgm::bench {

using Samples = std::vector<double>;

struct Summary {
    std::size_t count;
    double median;
    double p5;
    double p95;
    // In here lies the median with 95 % confidence, whatever the distribution: order statistics
    // (Conover, Practical Nonparametric Statistics, 3.2). Of fewer than six samples: all of them.
    double low;
    double high;
};
// Of at least one sample.
[[nodiscard]] Summary summarise(Samples samples);
[[nodiscard]] double median(Samples samples);

using Parameters = nlohmann::ordered_json;  // an object

class Report final {
  public:
    explicit Report(std::string program) : program_{std::move(program)} {}

    void add(std::string name, std::string unit, const Samples& samples, const Parameters& params);
    // Each sample is the ratio of two values of one round: what disturbs both cancels.
    void add_ratio(std::string name, const Samples& samples, const Parameters& params);

    // JSON: {"program", "results": [{name, unit, n, median, p5, p95, low, high, params}], "ratios":
    // [...]}.
    void print(bool json) const;

  private:
    struct Line {
        std::string name;
        std::string unit;
        Summary summary;
        Parameters params;
    };
    std::string program_;
    std::vector<Line> results_;
    std::vector<Line> ratios_;
};

}  // namespace sgm::bench
