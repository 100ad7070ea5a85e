// SPDX-License-Identifier: MIT
// The `sgmonitor` program itself, copied to a directory where a script plays a party.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>

#include "config/temporary_directory.hpp"

namespace sgm::cli {
namespace {

struct Outcome {
    int status;
    std::string out;  // stdout and stderr
};

Outcome run(const std::string& command) {
    std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    std::string out;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe))
        out += static_cast<char>(c);
    const int status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

class Dispatcher : public testing::Test {
  protected:
    Dispatcher() {
        std::filesystem::copy_file(SGM_DISPATCHER, dir_ / "sgmonitor");
        for (const char* name : {"sgmonitor-remote", "sgmonitord"}) {
            dir_.write(name, "#!/bin/sh\necho \"" + std::string{name} + " got $*\"\nexit 7\n");
            std::filesystem::permissions(dir_ / name, std::filesystem::perms::owner_all);
        }
    }

    Outcome sgmonitor(const std::string& arguments) {
        return run((dir_ / "sgmonitor").string() + " " + arguments);
    }

    config::TemporaryDirectory dir_;
};

TEST_F(Dispatcher, runs_the_party_beside_it_with_the_arguments_and_its_exit_status) {
    const auto remote = sgmonitor("remote ps --config 'a b'");
    EXPECT_EQ(remote.out, "sgmonitor-remote got ps --config a b\n");
    EXPECT_EQ(remote.status, 7);
    EXPECT_EQ(sgmonitor("host run").out, "sgmonitord got run\n");
}

TEST_F(Dispatcher, lists_the_parties_when_called_alone) {
    const auto outcome = sgmonitor("");
    EXPECT_EQ(outcome.status, 0);
    for (const char* party : {"hypervisor", "authority", "enclave", "host", "remote"}) {
        EXPECT_NE(outcome.out.find(party), std::string::npos) << party;
    }
}

TEST_F(Dispatcher, a_party_that_there_is_not_or_that_is_not_installed_is_one_clear_error) {
    EXPECT_EQ(sgmonitor("../bin/sh").status, 2);
    EXPECT_EQ(sgmonitor("remotes").out,
              "error: there is no party 'remotes'; run sgmonitor alone for the list\n");
    const auto missing = sgmonitor("authority run");
    EXPECT_EQ(missing.status, 1);
    EXPECT_EQ(missing.out, "error: cannot run " + (dir_ / "sgmonitor-authority").string() +
                               ": No such file or directory\n");
}

}  // namespace
}  // namespace sgm::cli
