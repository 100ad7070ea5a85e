// SPDX-License-Identifier: MIT
// Does a process run that the owner's rules forbid? The card: process_rules.toml.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "detect/check.hpp"
#include "detect/rules.hpp"

namespace sgm::detect {

// Beyond this many forbidden processes at a time one finding says that there are more.
inline constexpr std::uint32_t kMaxOpenFindings = 1024;

// A finding is raised in the first scan that shows a forbidden process, and cleared when two scans
// in a row no longer show it. One scan is enough to raise because each row of a list was true when
// it was read; it takes two to clear because a list that was read while the guest ran may lack
// entries. A process is its task_struct's address, pid and start time, so a reused pid is another
// process, and a forbidden process that renames itself stays found until it ends.
class ProcessRules final : public Check {
  public:
    static constexpr std::string_view kId = "process-rules";

    // Findings that the new rules do not support clear with the next scan.
    void set_rules(Rules rules) { rules_ = std::move(rules); }

    [[nodiscard]] std::string_view id() const override { return kId; }
    [[nodiscard]] wire::CheckCoverage run(const Scan& scan,
                                          std::vector<wire::Finding>& findings) override;
    [[nodiscard]] std::uint32_t open_findings() const override {
        return static_cast<std::uint32_t>(open_.size()) + (overflow_ ? 1 : 0);
    }

  private:
    struct Open {
        wire::ProcessRow process;  // when it was found
        wire::Finding finding;
        bool missed = false;  // the last scan did not show it
    };

    void clear_what_ended(const Scan& scan, std::vector<wire::Finding>& findings);
    void raise_what_is_new(const Scan& scan, std::vector<wire::Finding>& findings);
    void set_overflow(bool overflow, std::uint64_t clock, std::vector<wire::Finding>& findings);

    Rules rules_;
    std::vector<Open> open_;  // at most kMaxOpenFindings
    bool overflow_ = false;
};

}  // namespace sgm::detect
