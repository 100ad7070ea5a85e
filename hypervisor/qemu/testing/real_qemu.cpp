// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/real_qemu.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace sgm::qemu::testing {
namespace {

constexpr const char* kProgram = "qemu-system-x86_64";

int run(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& word : words)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_t child = -1;
    if (::posix_spawnp(&child, kProgram, nullptr, nullptr, arguments.data(), environ) != 0)
        return -1;
    int status = -1;
    ::waitpid(child, &status, 0);
    return status;
}

}  // namespace

bool has_qemu() {
    return ::access("/usr/bin/qemu-system-x86_64", X_OK) == 0;
}

RealQemu::RealQemu(const std::filesystem::path& directory, std::vector<std::string> options) {
    const auto monitor = [&](const char* name) {
        return "unix:" + (directory / name).string() + ",server=on,wait=off";
    };
    const std::filesystem::path pid_file = directory / "pid";
    // With -daemonize the command ends once the sockets are there.
    std::vector<std::string> words{kProgram,      "-S",
                                   "-nodefaults", "-display",
                                   "none",        "-daemonize",
                                   "-pidfile",    pid_file.string(),
                                   "-accel",      "tcg",
                                   "-qmp",        monitor("qmp"),
                                   "-qmp",        monitor("admin")};
    words.insert(words.end(), options.begin(), options.end());
    if (run(words) == 0) std::ifstream{pid_file} >> pid_;
}

RealQemu::~RealQemu() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
}

}  // namespace sgm::qemu::testing
