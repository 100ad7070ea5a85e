// SPDX-License-Identifier: MIT
// The frame of each party's program: commands, one form of error, the log, the ready line.
//
//   cli::Program program{"sgmonitor-authority", "Appraises an IDS and signs what it finds"};
//   Settings settings;
//   auto& run = program.command("run", "Serve", [&] { return serve(settings); });
//   run.add_option("--config", settings.config, "...")->required();
//   return program.run(argc, argv);
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "config/error.hpp"

namespace CLI {
class App;
}

namespace sgm::cli {

// Shown wherever a software enclave is shown or recorded.
inline constexpr std::string_view kSoftwareSgxBanner =
    "SOFTWARE SGX: no protection from this host's root";

class Program final {
  public:
    Program(const std::string& name, const std::string& description);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    // Adds a command; its options are added to what is returned (CLI/CLI.hpp), and `action` is
    // called when it was chosen.
    CLI::App& command(const std::string& name, const std::string& description,
                      std::function<config::Result<void>()> action);

    // Exit status: 0, or 1 when the command failed, or 2 when it was called wrongly; then one
    // line `error: ...` stands on stderr.
    [[nodiscard]] int run(int argc, const char* const* argv);

  private:
    std::unique_ptr<CLI::App> app_;
    std::function<config::Result<void>()> chosen_;
};

// Log lines go to stderr, one for each event, with time (UTC) and level.
void start_log();

// `ready: ...` on stdout, at once: whoever started the program may now use it.
void announce_ready(std::string_view what);

}  // namespace sgm::cli
