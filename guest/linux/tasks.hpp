// SPDX-License-Identifier: MIT
// The process list, as the kernel's own list of thread group leaders has it.
#pragma once

#include <cstdint>
#include <expected>
#include <vector>

#include "guest/linux/kernel.hpp"
#include "guest/memory.hpp"
#include "wire/owner.hpp"

namespace sgm::guest {

// More processes than this is an error, not a shorter list. The kernel's own bound is 4,194,304
// (PID_MAX_LIMIT); a list of this size takes 4 MiB here and about 3.5 MiB as rows.
inline constexpr std::uint32_t kMaxProcesses = wire::kMaxWalkNodes - 1;

// All processes in list order, init (pid 1) usually first; the idle task (pid 0) is not one.
// One exchange for up to about 16,000 processes. A list that was torn by the running guest is
// read again, the last times with the vCPUs held; what does not become whole is an error. A list
// that is returned is whole: it began at init_task, closed there, and every row is plausible.
[[nodiscard]] std::expected<std::vector<wire::ProcessRow>, Failure> list_processes(
    Memory& memory, const Kernel& kernel, Consistency consistency = Consistency::live);

}  // namespace sgm::guest
