// SPDX-License-Identifier: MIT
// The files behind a VM's memory, found through QEMU and its entry in /proc: for VMs that someone
// else has started. Needs the right to look into QEMU's process: its own user, or root.
#pragma once

#include <string>
#include <vector>

#include "config/descriptor.hpp"
#include "config/error.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace sgm::qemu {

struct FoundMemory {
    std::string backend;  // its id in QEMU
    Descriptor file;      // opened for reading
};

// Each guest-RAM backend that is shared. Private ones have no file that anybody else could read;
// whoever attaches hears of them from QEMU (query-memdev).
[[nodiscard]] config::Result<std::vector<FoundMemory>> find_memory(Qmp& qmp, Deadline deadline);

}  // namespace sgm::qemu
