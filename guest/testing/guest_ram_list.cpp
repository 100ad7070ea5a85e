// SPDX-License-Identifier: MIT
// Lists the processes of a QEMU guest from its RAM file, through the hypervisor core and the
// parsers of this room and nothing else: for integration tests and for looking at a kernel that is
// not understood.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "guest/linux/kernel.hpp"
#include "guest/linux/tasks.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/ram_file.hpp"
#include "guest/text.hpp"
#include "wire/fixed_text.hpp"

namespace {

constexpr std::string_view kUsage =
    "usage: guest_ram_list RAM_FILE [--json] [--facts] [--below-4g BYTES]\n"
    "  --below-4g  how much of the file lies below 4 GiB (default: 2 GiB, q35); the rest lies "
    "above\n";

std::string json_string(std::string_view raw) {
    std::string text{"\""};
    for (const char c : raw) {
        const auto byte = static_cast<unsigned char>(c);
        char escaped[8];
        if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\') {
            std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
            text += escaped;
        } else {
            text += c;
        }
    }
    return text + "\"";
}

}  // namespace

int main(int count, char** arguments) {
    using namespace sgm;
    std::string path;
    bool json = false;
    bool facts = false;
    std::optional<std::uint64_t> below_4g;
    for (int i = 1; i < count; ++i) {
        const std::string_view argument{arguments[i]};
        if (argument == "--json") {
            json = true;
        } else if (argument == "--facts") {
            facts = true;
        } else if (argument == "--below-4g" && i + 1 < count) {
            below_4g = std::strtoull(arguments[++i], nullptr, 0);
        } else if (path.empty() && !argument.starts_with('-')) {
            path = argument;
        } else {
            std::fputs(kUsage.data(), stderr);
            return 2;
        }
    }
    if (path.empty()) {
        std::fputs(kUsage.data(), stderr);
        return 2;
    }
    const auto file = guest::testing::RamFile::open(path, below_4g);
    if (!file) return 1;
    guest::testing::RamFilePort port;
    guest::testing::DirectTransport transport{port, *file};
    guest::Memory memory{transport};
    const std::uint64_t start = port.now_ns();
    const auto kernel = guest::Kernel::attach(memory);
    if (!kernel) {
        std::fprintf(stderr, "%s\n", kernel.error().why.c_str());
        return 1;
    }
    const std::uint64_t attached = port.now_ns();
    const std::uint64_t exchanges = memory.exchanges();
    const auto processes = guest::list_processes(memory, *kernel);
    const std::uint64_t listed = port.now_ns();
    if (!processes) {
        std::fprintf(stderr, "%s\n", guest::describe(processes.error()).c_str());
        return 1;
    }
    if (facts) {
        std::fprintf(
            stderr, "attached to %s in %.1f ms and %llu exchanges, listed in %.3f ms and %llu\n",
            guest::printable(kernel->release(), 64).c_str(),
            static_cast<double>(attached - start) / 1e6, static_cast<unsigned long long>(exchanges),
            static_cast<double>(listed - attached) / 1e6,
            static_cast<unsigned long long>(memory.exchanges() - exchanges));
        std::fprintf(stderr, "%-42s %-20s %s\n", "kallsyms offsets",
                     std::string{text(kernel->symbols().encoding())}.c_str(), "self-check");
        for (const guest::Fact& fact : kernel->facts())
            std::fprintf(stderr, "%-42s %-20s %s\n", std::string{fact.name}.c_str(),
                         guest::hex(fact.value).c_str(), std::string{text(fact.source)}.c_str());
    }
    std::puts(json ? "[" : "    PID    TGID    PPID        UID STATE     START  COMM");
    for (std::size_t i = 0; i < processes->size(); ++i) {
        const wire::ProcessRow& row = (*processes)[i];
        const double start_seconds = static_cast<double>(row.start_time_ns) / 1e9;
        if (json) {
            std::printf(
                "{\"pid\": %d, \"tgid\": %d, \"ppid\": %d, \"uid\": %u, \"state\": %u, "
                "\"start_time_ns\": %llu, \"comm\": %s}%s\n",
                row.pid, row.tgid, row.ppid, row.uid, row.state,
                static_cast<unsigned long long>(row.start_time_ns),
                json_string(wire::get_text(row.comm)).c_str(),
                i + 1 == processes->size() ? "" : ",");
        } else {
            std::printf("%7d %7d %7d %10u %5x %9.2f  %s\n", row.pid, row.tgid, row.ppid, row.uid,
                        row.state, start_seconds,
                        guest::printable(wire::get_text(row.comm), row.comm.size()).c_str());
        }
    }
    if (json) std::puts("]");
    return 0;
}
