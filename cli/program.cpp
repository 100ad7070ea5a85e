// SPDX-License-Identifier: MIT
#include "cli/program.hpp"

#include <fmt/core.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

namespace sgm::cli {
namespace {

int fail(std::string_view sentence, int status) {
    std::fflush(stdout);
    fmt::print(stderr, "error: {}\n", sentence);
    return status;
}

}  // namespace

Program::Program(const std::string& name, const std::string& description)
    : app_{std::make_unique<CLI::App>(description, name)} {
    app_->require_subcommand(1);
}

Program::~Program() = default;

CLI::App& Program::command(const std::string& name, const std::string& description,
                           std::function<config::Result<void>()> action) {
    CLI::App* command = app_->add_subcommand(name, description);
    command->callback([this, action = std::move(action)] { chosen_ = action; });
    return *command;
}

int Program::run(int argc, const char* const* argv) {
    try {
        app_->parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app_->exit(error);  // --help
        return fail(fmt::format("{} ({} --help says more)", error.what(), app_->get_name()), 2);
    }
    try {
        const auto done = chosen_();
        return done ? 0 : fail(done.error().sentence, 1);
    } catch (const std::exception& error) {
        return fail(error.what(), 1);
    }
}

void start_log() {
    auto log = std::make_shared<spdlog::logger>("sgmonitor",
                                                std::make_shared<spdlog::sinks::stderr_sink_mt>());
    log->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    log->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(log));
}

void announce_ready(std::string_view what) {
    fmt::print("ready: {}\n", what);
    std::fflush(stdout);
}

}  // namespace sgm::cli
