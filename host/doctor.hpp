// SPDX-License-Identifier: MIT
// Explains a machine to its operator: what it has for SGmonitor's host, what each missing thing
// costs, and what to do.
#pragma once

#include <string>
#include <vector>

#include "cli/output.hpp"
#include "config/error.hpp"
#include "host/probes.hpp"
#include "sgx/loader/loader.hpp"

namespace sgm::host {

enum class CheckState {
    ok,
    missing,   // real SGX or software SGX does without it, or not at all: `costs` says which
    optional,  // not there, and few need it
    unknown,   // it could not be found out
};

struct Check {
    std::string key;    // for programs
    std::string title;  // for people
    CheckState state;
    std::string found;
    std::string costs;   // what its absence means; empty when it is there
    std::string advice;  // what to do; empty when it is there
};

struct Diagnosis {
    std::vector<Check> checks;
    // What enclaves would run on here; nullopt: nothing.
    std::optional<sgx::Platform> platform;
    std::string reason;  // one sentence
};

[[nodiscard]] Diagnosis diagnose(const Probes& probes);

// Text: a table, then cost and advice of what is not there, then the verdict.
[[nodiscard]] std::string render(const Diagnosis& diagnosis, cli::Format format);

}  // namespace sgm::host
