// SPDX-License-Identifier: MIT
// Lists the processes of a QEMU guest through the hypervisor core and the parsers of this room and
// nothing else: for looking at a kernel that is not understood.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "guest/linux/kernel.hpp"
#include "guest/linux/tasks.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/ram_file.hpp"
#include "guest/text.hpp"
#include "hypervisor/qemu/port.hpp"
#include "wire/fixed_text.hpp"

namespace {

using namespace sgm;

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

void print_json(const std::vector<wire::ProcessRow>& processes) {
    const char* before = "[\n";
    for (const wire::ProcessRow& row : processes) {
        std::printf(
            "%s{\"pid\": %d, \"tgid\": %d, \"ppid\": %d, \"uid\": %u, \"state\": %u, "
            "\"start_time_ns\": %llu, \"comm\": %s}",
            before, row.pid, row.tgid, row.ppid, row.uid, row.state,
            static_cast<unsigned long long>(row.start_time_ns),
            json_string(wire::get_text(row.comm)).c_str());
        before = ",\n";
    }
    std::puts("\n]");
}

void print_table(const std::vector<wire::ProcessRow>& processes) {
    std::puts("    PID    TGID    PPID        UID STATE     START  COMM");
    for (const wire::ProcessRow& row : processes)
        std::printf("%7d %7d %7d %10u %5x %9.2f  %s\n", row.pid, row.tgid, row.ppid, row.uid,
                    row.state, static_cast<double>(row.start_time_ns) / 1e9,
                    guest::printable(wire::get_text(row.comm), row.comm.size()).c_str());
}

void print_facts(const guest::Kernel& kernel) {
    const auto line = [](std::string_view name, std::string_view value, guest::Source source) {
        std::fprintf(stderr, "%-42.*s %-20.*s %.*s\n", static_cast<int>(name.size()), name.data(),
                     static_cast<int>(value.size()), value.data(),
                     static_cast<int>(text(source).size()), text(source).data());
    };
    line("release", guest::printable(kernel.release(), 64), guest::Source::vmcoreinfo);
    line("kallsyms offsets", text(kernel.symbols().encoding()), guest::Source::self_check);
    for (const guest::Fact& fact : kernel.facts())
        line(fact.name, guest::hex(fact.value), fact.source);
}

int list(hypervisor::Domain& domain, bool json, bool facts) {
    qemu::QemuPort port;
    guest::testing::DirectTransport transport{port, domain};
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
    if (facts) {
        print_facts(*kernel);
        std::fprintf(stderr, "attached in %.1f ms and %llu exchanges, listed in %.3f ms and %llu\n",
                     static_cast<double>(attached - start) / 1e6,
                     static_cast<unsigned long long>(exchanges),
                     static_cast<double>(listed - attached) / 1e6,
                     static_cast<unsigned long long>(memory.exchanges() - exchanges));
    }
    if (!processes) {
        std::fprintf(stderr, "%s\n", guest::describe(processes.error()).c_str());
        return 1;
    }
    json ? print_json(*processes) : print_table(*processes);
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    CLI::App app{"Lists the processes of a QEMU guest from the file behind its RAM."};
    std::string ram;
    std::string qmp;
    std::optional<std::uint64_t> below_4g;
    bool json = false;
    bool facts = false;
    app.add_option("ram", ram, "the file of its memory-backend-file")->required();
    app.add_option("--qmp", qmp, "its QMP socket: where the RAM lies, registers, holding vCPUs");
    app.add_option("--below-4g", below_4g,
                   "without --qmp: bytes of the file that lie below 4 GiB (default: as q35 does)");
    app.add_flag("--json", json);
    app.add_flag("--facts", facts, "tell on stderr what was derived, and from what");
    CLI11_PARSE(app, count, arguments);

    if (!qmp.empty()) {
        qemu::DomainSettings settings{};
        settings.memory = ram;
        settings.qmp = qmp;
        qemu::QemuDomain domain{std::move(settings), 1};
        if (const auto attached = domain.attach(); !attached) {
            std::fprintf(stderr, "%s\n", attached.error().sentence.c_str());
            return 1;
        }
        return list(domain, json, facts);
    }
    auto file = qemu::MemoryFile::open(ram);
    if (!file) {
        std::fprintf(stderr, "%s\n", file.error().sentence.c_str());
        return 1;
    }
    guest::testing::RamFile domain{std::move(*file), below_4g};
    return list(domain, json, facts);
}
