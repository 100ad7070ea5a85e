// SPDX-License-Identifier: MIT
// What the owner sees: the store's contents as records and tables. Much of the text in them was
// chosen by the guest; cli/output.hpp escapes it.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cli/output.hpp"
#include "config/error.hpp"
#include "remote/rules.hpp"
#include "remote/settings.hpp"
#include "remote/store.hpp"

namespace sgm::remote {

// Whether a daemon keeps this store up to date: it renews its status every second.
[[nodiscard]] bool is_running(const std::optional<DaemonStatus>& status, UtcMs now);

[[nodiscard]] cli::Record status(Store& store, const Settings& settings, UtcMs now);

// Findings and alerts, the newest last.
[[nodiscard]] cli::Table alerts(Store& store, std::int64_t limit);

[[nodiscard]] cli::Table rules_table(const RuleSet& rules);

// The processes of an answer, as the guest's memory has them.
struct ProcessList {
    cli::Table table;
    std::uint32_t missing;  // rows that did not fit into the answer
};
[[nodiscard]] config::Result<ProcessList> process_list(Bytes answer);

// Asks the IDS, by way of the daemon, and waits for the answer.
[[nodiscard]] config::Result<ProcessList> ask_for_processes(Store& store,
                                                            std::chrono::milliseconds patience);

// The state letter that ps(1) would show, for __state and exit_state bits of kernels 5.10 to 6.12.
[[nodiscard]] std::string task_state(std::uint32_t bits);

// One line for each new beat, finding and alert, oldest first.
class Follower final {
  public:
    // From now on.
    explicit Follower(Store& store);
    [[nodiscard]] std::vector<std::string> news(cli::Format format);

  private:
    Store& store_;
    std::int64_t heartbeat_;
    std::int64_t finding_;
    std::int64_t alert_;
};

}  // namespace sgm::remote
