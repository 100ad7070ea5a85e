// SPDX-License-Identifier: MIT
// Inside an enclave and outside of it: the process list with a request for each field.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "guest/linux/kernel.hpp"
#include "guest/linux/tasks.hpp"
#include "guest/memory.hpp"
#include "wire/owner.hpp"

namespace sgm::bench {

using Rows = std::vector<wire::ProcessRow>;

// The list as the original read it: a request for each field of each process.
[[nodiscard]] inline std::optional<Rows> list_by_field(guest::Memory& memory,
                                                       const guest::Kernel& kernel) {
    const guest::TaskLayout& at = kernel.layout().task;
    const guest::AddressSpace space = kernel.space();
    Rows rows;
    std::uint64_t task = kernel.init_task();
    while (rows.size() < guest::kMaxProcesses) {
        const auto next = memory.read_value<std::uint64_t>(space, task + at.tasks);
        if (!next) return std::nullopt;
        task = *next - at.tasks;
        if (task == kernel.init_task()) return rows;
        const auto pid = memory.read_value<std::int32_t>(space, task + at.pid);
        const auto tgid = memory.read_value<std::int32_t>(space, task + at.tgid);
        const auto parent = memory.read_value<std::uint64_t>(space, task + at.real_parent);
        const auto cred = memory.read_value<std::uint64_t>(space, task + at.real_cred);
        const auto comm = memory.read_value<std::array<char, 16>>(space, task + at.comm);
        const auto state = memory.read_value<std::uint32_t>(space, task + at.state);
        const auto exit_state = memory.read_value<std::uint32_t>(space, task + at.exit_state);
        const auto start = memory.read_value<std::uint64_t>(space, task + at.start_time);
        if (!pid || !tgid || !parent || !cred || !comm || !state || !exit_state || !start)
            return std::nullopt;
        const auto ppid = memory.read_value<std::int32_t>(space, *parent + at.tgid);
        const auto uid = memory.read_value<std::uint32_t>(space, *cred + kernel.layout().cred_uid);
        if (!ppid || !uid) return std::nullopt;
        wire::ProcessRow row{.task = task,
                             .start_time_ns = *start,
                             .pid = *pid,
                             .tgid = *tgid,
                             .ppid = *ppid,
                             .uid = *uid,
                             .state = *state | *exit_state,
                             .reserved = 0,
                             .comm = {}};
        std::copy(comm->begin(), std::ranges::find(*comm, '\0'), row.comm.begin());
        rows.push_back(row);
    }
    return std::nullopt;
}

}  // namespace sgm::bench
