// SPDX-License-Identifier: MIT
#include "cli/program.hpp"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <stdexcept>

#include "cli/stop_signal.hpp"

namespace sgm::cli {
namespace {

struct Outcome {
    int status;
    std::string out;
    std::string err;
};

Outcome run(Program& program, std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "prog");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = program.run(static_cast<int>(arguments.size()), arguments.data());
    return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(Program, the_chosen_command_runs_with_its_options) {
    Program program{"prog", "for the test"};
    std::string got;
    std::string option;
    auto& greet = program.command("greet", "greets", [&]() -> config::Result<void> {
        got = "hello " + option;
        return {};
    });
    greet.add_option("--name", option)->required();
    const auto outcome = run(program, {"greet", "--name", "x"});
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(got, "hello x");
    EXPECT_EQ(outcome.err, "");
}

TEST(Program, a_command_that_fails_gives_one_line_and_status_1) {
    Program program{"prog", "for the test"};
    program.command("a", "", []() -> config::Result<void> {
        return std::unexpected{config::Error{"the port is in use"}};
    });
    program.command("b", "", []() -> config::Result<void> { throw std::runtime_error{"thrown"}; });
    EXPECT_EQ(run(program, {"a"}).err, "error: the port is in use\n");
    EXPECT_EQ(run(program, {"a"}).status, 1);
    EXPECT_EQ(run(program, {"b"}).err, "error: thrown\n");
    EXPECT_EQ(run(program, {"b"}).status, 1);
}

TEST(Program, a_wrong_call_gives_one_line_and_status_2_and_runs_nothing) {
    Program program{"prog", "for the test"};
    bool ran = false;
    std::string config;
    auto& command = program.command("run", "", [&]() -> config::Result<void> {
        ran = true;
        return {};
    });
    command.add_option("--config", config)->required();
    for (const auto& arguments : std::vector<std::vector<const char*>>{
             {}, {"unknown"}, {"run"}, {"run", "--config"}, {"run", "--config", "x", "--extra"}}) {
        const auto outcome = run(program, arguments);
        EXPECT_EQ(outcome.status, 2);
        EXPECT_TRUE(outcome.err.starts_with("error: ")) << outcome.err;
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    }
    EXPECT_FALSE(ran);
    EXPECT_EQ(run(program, {"--help"}).status, 0);
}

TEST(Program, the_ready_line_is_written_at_once) {
    testing::internal::CaptureStdout();
    announce_ready("127.0.0.1:7401");
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "ready: 127.0.0.1:7401\n");
}

TEST(StopSignal, waits_for_term_and_int_and_stays_set) {
    for (const int signal : {SIGTERM, SIGINT}) {
        sigset_t before;
        pthread_sigmask(SIG_BLOCK, nullptr, &before);
        const StopSignal stop;
        EXPECT_FALSE(stop.wait_for(std::chrono::milliseconds{0}));
        ASSERT_EQ(::raise(signal), 0);
        stop.wait();
        EXPECT_TRUE(stop.wait_for(std::chrono::milliseconds{0}));
        sigset_t pending;
        sigemptyset(&pending);
        sigaddset(&pending, signal);
        const timespec now{};
        EXPECT_EQ(::sigtimedwait(&pending, nullptr, &now), signal);  // taken, or it would kill us
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
}

}  // namespace
}  // namespace sgm::cli
