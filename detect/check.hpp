// SPDX-License-Identifier: MIT
// What a check is. Each is one file pair and one card in detect/checks/: the card says what the
// check asks of the guest, the code answers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "wire/fixed_text.hpp"
#include "wire/owner.hpp"

namespace sgm::detect {

// What one scan has read. Lists are whole and every row is plausible: a list that could not be
// read so does not become a scan.
struct Scan {
    std::span<const wire::ProcessRow> processes;
    std::uint64_t clock;  // the hypervisor's, ns
};

class Check {
  public:
    virtual ~Check() = default;

    // As on its card; at most 27 characters.
    [[nodiscard]] virtual std::string_view id() const = 0;

    // Looks at one scan: appends what is newly raised or cleared, and says whether it could look.
    [[nodiscard]] virtual wire::CheckCoverage run(const Scan& scan,
                                                  std::vector<wire::Finding>& findings) = 0;

    // Raised and not cleared.
    [[nodiscard]] virtual std::uint32_t open_findings() const = 0;

    // For whoever could not even scan: a check that did not run is told, never left out.
    [[nodiscard]] wire::CheckCoverage not_run(wire::CheckState state, std::string_view why) const {
        return coverage(state, why);
    }

  protected:
    Check() = default;
    Check(const Check&) = default;
    Check& operator=(const Check&) = default;

    [[nodiscard]] wire::CheckCoverage coverage(wire::CheckState state,
                                               std::string_view why = {}) const {
        wire::CheckCoverage coverage{};
        wire::set_text(coverage.check, id());
        coverage.state = state;
        wire::set_text(coverage.why, why);
        return coverage;
    }
};

}  // namespace sgm::detect
