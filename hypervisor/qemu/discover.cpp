// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/discover.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "hypervisor/qemu/attachment.hpp"

namespace sgm::qemu {
namespace {

std::unexpected<config::Error> failed(std::string sentence) {
    return std::unexpected{config::Error{std::move(sentence)}};
}

// Of the process that listens at the other end (unix(7)); with libvirt's own monitor that is
// libvirt, but QEMU itself opens those of `-qmp`.
config::Result<pid_t> process_behind(const Qmp& qmp) {
    ucred peer{};
    socklen_t size = sizeof(peer);
    if (::getsockopt(qmp.descriptor(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        peer.pid <= 0) {
        return failed(
            fmt::format("which process serves {} cannot be told: name the memory with "
                        "--memory",
                        qmp.name()));
    }
    return peer.pid;
}

// "Host virtual address for 0x100000 (pc.ram) is 0x7efb580ff000"
config::Result<std::uint64_t> host_address(Qmp& qmp, std::uint64_t physical, Deadline deadline) {
    const auto text = qmp.monitor(fmt::format("gpa2hva {:#x}", physical), deadline);
    if (!text) return std::unexpected{text.error()};
    constexpr std::string_view kBefore = " is 0x";
    const std::size_t at = text->rfind(kBefore);
    std::uint64_t address = 0;
    if (at == text->npos || std::from_chars(text->data() + at + kBefore.size(),
                                            text->data() + text->size(), address, 16)
                                    .ec != std::errc{}) {
        return failed(fmt::format("QEMU's gpa2hva is not understood: {}", *text));
    }
    return address;
}

// One line of /proc/PID/maps (proc(5)).
struct Mapping {
    std::uint64_t offset;  // in the file, of the address that was asked for
    bool shared;
    dev_t device;
    ino_t inode;
};

config::Result<Mapping> mapping_at(pid_t pid, std::uint64_t address) {
    const std::string path = fmt::format("/proc/{}/maps", pid);
    std::ifstream maps{path};
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin = 0;
        unsigned long end = 0;
        unsigned long offset = 0;
        unsigned long inode = 0;
        char rights[5]{};
        unsigned int major = 0;
        unsigned int minor = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx %x:%x %lu", &begin, &end, rights, &offset,
                        &major, &minor, &inode) != 7) {
            continue;
        }
        if (address < begin || address >= end) continue;
        return Mapping{offset + (address - begin), rights[3] == 's',
                       static_cast<dev_t>(makedev(major, minor)), inode};
    }
    return failed(
        fmt::format("{} cannot be read: run this as root, or as QEMU's user, or name the "
                    "memory with --memory",
                    path));
}

// The descriptor through which QEMU has the file, opened anew.
std::optional<Descriptor> open_same_file(pid_t pid, const Mapping& mapping) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator{fmt::format("/proc/{}/fd", pid), error}) {
        struct stat status{};
        if (::stat(entry.path().c_str(), &status) != 0 || status.st_ino != mapping.inode ||
            status.st_dev != mapping.device) {
            continue;
        }
        Descriptor file{::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC)};
        if (file) return file;
    }
    return std::nullopt;
}

config::Result<Descriptor> find_file(Qmp& qmp, pid_t pid, const SeenBlock& block,
                                     Deadline deadline) {
    const auto address = host_address(qmp, block.start, deadline);
    if (!address) return std::unexpected{address.error()};
    const auto mapping = mapping_at(pid, *address);
    if (!mapping) return std::unexpected{mapping.error()};
    if (!mapping->shared || mapping->offset != block.offset) {
        return failed(fmt::format("memory backend '{}' does not lie in a shared file of its own",
                                  block.name));
    }
    auto file = open_same_file(pid, *mapping);
    if (!file) {
        return failed(
            fmt::format("the file of memory backend '{}' cannot be opened through "
                        "/proc/{}/fd: run this as root, or as QEMU's user",
                        block.name, pid));
    }
    return std::move(*file);
}

}  // namespace

config::Result<std::vector<FoundMemory>> find_memory(Qmp& qmp, Deadline deadline) {
    const auto layout = layout_of(qmp, deadline);
    if (!layout) return std::unexpected{layout.error()};
    const auto seen = ram_blocks_of(*layout);
    if (!seen) return std::unexpected{seen.error()};
    const auto backends = query_backends(qmp, deadline);
    if (!backends) return std::unexpected{backends.error()};
    std::vector<FoundMemory> found;
    for (const Backend& backend : *backends) {
        const auto block = std::ranges::find(*seen, backend.id, &SeenBlock::name);
        if (!backend.shared || block == seen->end()) continue;
        const auto pid = process_behind(qmp);
        if (!pid) return std::unexpected{pid.error()};
        auto file = find_file(qmp, *pid, *block, deadline);
        if (!file) return std::unexpected{file.error()};
        found.push_back({backend.id, std::move(*file)});
    }
    return found;
}

}  // namespace sgm::qemu
