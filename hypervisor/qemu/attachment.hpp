// SPDX-License-Identifier: MIT
// What attaching to a QEMU finds out: where the VM's RAM lies in guest-physical space and in which
// file, or why it cannot be read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/core/port.hpp"
#include "hypervisor/qemu/memory_file.hpp"
#include "hypervisor/qemu/memory_map.hpp"
#include "hypervisor/qemu/qmp.hpp"
#include "wire/ids.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::qemu {

// A memory backend's file that somebody has opened for this process.
struct GivenMemory {
    std::string backend;  // its id in QEMU; empty: found by its size
    std::shared_ptr<const Descriptor> file;
};

struct DomainSettings {
    wire::Uuid uuid;
    std::filesystem::path memory;  // empty: `given`
    std::filesystem::path qmp;
    std::string backend;             // of `memory`: its id in QEMU; empty: found by its size
    std::vector<GivenMemory> given;  // instead of `memory`
    // A connection to use once instead of `qmp`; nothing has been said on it.
    std::shared_ptr<Descriptor> qmp_connection;
};

struct Attachment {
    std::vector<std::unique_ptr<MemoryFile>> files;
    std::vector<MappedRange> map;                 // `block` is an index into files
    std::vector<wire::RamRange> ranges;           // the same without where they lie in files
    std::vector<hypervisor::DirectRange> direct;  // and where they lie in our memory
    std::string layout;                           // as QEMU told it; another text: attach again
    std::uint32_t vcpu_count = 0;
    // Why not, where it is not readable; the rest is empty then.
    wire::Readability readability = wire::Readability::readable;
    std::string reason;
};

// A QEMU that says it runs another VM, or memory that does not fit, is an error; memory that
// nobody but QEMU can read is an attachment that says so.
[[nodiscard]] config::Result<std::unique_ptr<Attachment>> attach_to(Qmp& qmp,
                                                                    const DomainSettings& settings,
                                                                    Deadline deadline);

// QEMU's own word on where the RAM lies; it changes when memory is plugged.
[[nodiscard]] config::Result<std::string> layout_of(Qmp& qmp, Deadline deadline);

// A guest-RAM backend of a VM (query-memdev).
struct Backend {
    std::string id;
    std::uint64_t size;
    bool shared;
};
[[nodiscard]] config::Result<std::vector<Backend>> query_backends(Qmp& qmp, Deadline deadline);

}  // namespace sgm::qemu
