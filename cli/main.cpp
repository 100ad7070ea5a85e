// SPDX-License-Identifier: MIT
// `sgmonitor PARTY ...` runs that party's own program, which lies beside this one. There is one
// program for each party so that each links, and can be trusted with, only what it needs.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace {

struct Party {
    const char* name;
    const char* program;
    const char* purpose;
};

constexpr Party kParties[] = {
    {"hypervisor", "sgmonitor-hypervisor",
     "reads the VM's memory for the IDS and seals the answers"},
    {"authority", "sgmonitor-authority", "appraises an IDS and signs what it finds (third party)"},
    {"enclave", "sgmonitor-enclave", "measures and signs the enclave that the IDS runs in"},
    {"host", "sgmonitord", "loads the enclave and relays for it (untrusted)"},
    {"remote", "sgmonitor-remote", "the VM owner's side: heartbeats, alerts, queries"},
};

void list_parties(std::FILE* out) {
    std::fputs("usage: sgmonitor PARTY COMMAND ...\n\nThe parties:\n", out);
    for (const Party& party : kParties) {
        std::fprintf(out, "  %-12s%s\n", party.name, party.purpose);
    }
    std::fputs("\n`sgmonitor PARTY --help` lists the commands of each.\n", out);
}

int run(const Party& party, char** argv) {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) {
        std::fprintf(stderr, "error: cannot tell where this program lies: /proc/self/exe: %s\n",
                     error.message().c_str());
        return 1;
    }
    const auto program = self.parent_path() / party.program;
    ::execv(program.c_str(), argv);
    std::fprintf(stderr, "error: cannot run %s: %s\n", program.c_str(), std::strerror(errno));
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        list_parties(stdout);
        return 0;
    }
    const std::string_view wanted = argv[1];
    if (wanted == "--help" || wanted == "-h") {
        list_parties(stdout);
        return 0;
    }
    for (const Party& party : kParties) {
        if (party.name == wanted) return run(party, argv + 1);
    }
    std::fprintf(stderr, "error: there is no party '%s'; run sgmonitor alone for the list\n",
                 argv[1]);
    return 2;
}
