// SPDX-License-Identifier: MIT
#include "guest/linux/tasks.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace sgm::guest {
namespace {

// A list is torn when a task that the walk stands on is freed and its memory reused. On a live
// guest that is rare (a fork storm: less than one list in 100,000), and with held vCPUs it cannot
// happen, so what fails five times is not torn but wrong.
constexpr int kAttempts = 5;
constexpr int kLiveAttempts = 2;

constexpr std::int32_t kMaxPid = 4'194'304;  // PID_MAX_LIMIT, kernel include/linux/threads.h
constexpr std::string_view kIdleComm = "swapper/0";

wire::FieldPath field(std::uint32_t size, std::uint32_t offset) {
    return {.size = size,
            .hop_count = 0,
            .offsets = {static_cast<std::int32_t>(offset)},
            .reserved = 0};
}

wire::FieldPath field_behind(std::uint32_t size, std::uint32_t pointer, std::uint32_t offset) {
    return {.size = size,
            .hop_count = 1,
            .offsets = {static_cast<std::int32_t>(pointer), static_cast<std::int32_t>(offset)},
            .reserved = 0};
}

// The fields of a row, in the order of the paths below.
struct TaskFields {
    std::int32_t pid;
    std::int32_t tgid;
    std::int32_t ppid;
    std::uint32_t uid;
    std::array<char, kCommSize> comm;
    std::uint32_t state;
    std::uint32_t exit_state;
    std::array<std::uint8_t, 8> start_time;  // not aligned here
};
static_assert(sizeof(TaskFields) == 48);

std::array<wire::FieldPath, 8> paths(const Layout& layout) {
    const TaskLayout& task = layout.task;
    return {field(4, task.pid),
            field(4, task.tgid),
            field_behind(4, task.real_parent, task.tgid),
            field_behind(4, task.real_cred, layout.cred_uid),
            field(kCommSize, task.comm),
            field(4, task.state),
            field(4, task.exit_state),
            field(8, task.start_time)};
}

// nullopt: the row cannot be a task that the kernel keeps in its list.
std::optional<wire::ProcessRow> parse_row(Bytes bytes) {
    Reader reader{bytes};
    const auto head = reader.take<wire::WalkRow>();
    const auto fields = reader.take<TaskFields>();
    if (!head || !fields || head->bad_fields != 0) return std::nullopt;
    if (head->node >> 63 == 0) return std::nullopt;  // not a kernel address
    if (fields->pid < 0 || fields->pid > kMaxPid || fields->tgid != fields->pid ||
        fields->ppid < 0 || fields->ppid > kMaxPid || fields->comm.back() != 0)
        return std::nullopt;
    wire::ProcessRow row{.task = head->node,
                         .start_time_ns = std::bit_cast<std::uint64_t>(fields->start_time),
                         .pid = fields->pid,
                         .tgid = fields->tgid,
                         .ppid = fields->ppid,
                         .uid = fields->uid,
                         // Disjoint bits; /proc shows their sum (kernel fs/proc/array.c).
                         .state = fields->state | fields->exit_state,
                         .reserved = 0,
                         .comm = {}};
    // The kernel leaves what an older, longer name had behind the terminating zero.
    const auto end = std::ranges::find(fields->comm, '\0');
    std::copy(fields->comm.begin(), end, row.comm.begin());
    return row;
}

bool all_pids_differ(const std::vector<wire::ProcessRow>& rows) {
    // The kernel appends, and pids grow until they wrap: most lists are in order.
    const auto falls =
        std::ranges::adjacent_find(rows, std::ranges::greater_equal{}, &wire::ProcessRow::pid);
    if (falls == rows.end()) return true;
    std::vector<std::int32_t> pids;
    pids.reserve(rows.size());
    for (const wire::ProcessRow& row : rows)
        pids.push_back(row.pid);
    std::ranges::sort(pids);
    return std::ranges::adjacent_find(pids) == pids.end();
}

std::expected<std::vector<wire::ProcessRow>, Failure> parse_list(const Walk& walk,
                                                                 const Kernel& kernel) {
    const auto idle = walk.node_count != 0 ? parse_row(walk.row(0)) : std::nullopt;
    if (!idle || idle->task != kernel.init_task() || idle->pid != 0 ||
        std::string_view{idle->comm.data()} != kIdleComm)
        return std::unexpected{Failure{Error::kernel_changed}};
    switch (walk.stop) {
        case wire::WalkStop::end: break;
        case wire::WalkStop::bound: return std::unexpected{Failure{Error::too_long}};
        case wire::WalkStop::cycle: return std::unexpected{Failure{Error::cycle}};
        case wire::WalkStop::fault: return std::unexpected{Failure{Error::fault, walk.fault}};
    }
    std::vector<wire::ProcessRow> rows;
    rows.reserve(walk.node_count - 1);
    for (std::uint32_t i = 1; i < walk.node_count; ++i) {
        const auto row = parse_row(walk.row(i));
        if (!row || row->pid == 0) return std::unexpected{Failure{Error::implausible}};
        rows.push_back(*row);
    }
    // A task that was forked in memory that the walk stood on begins as a copy of its parent.
    if (!all_pids_differ(rows)) return std::unexpected{Failure{Error::implausible}};
    return rows;
}

}  // namespace

std::expected<std::vector<wire::ProcessRow>, Failure> list_processes(Memory& memory,
                                                                     const Kernel& kernel,
                                                                     Consistency consistency) {
    const auto fields = paths(kernel.layout());
    const std::uint64_t head = kernel.init_task() + kernel.layout().task.tasks;
    Failure last{Error::implausible};
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const auto walk =
            memory.walk({.space = kernel.space(),
                         .first = head,
                         .head = head,
                         .link_offset = static_cast<std::int32_t>(kernel.layout().task.tasks),
                         .next_offset = 0,  // list_head.next
                         .shape = wire::ListShape::circular,
                         .fields = fields,
                         .max_nodes = kMaxProcesses + 1,
                         .consistency = attempt < kLiveAttempts ? consistency : Consistency::held});
        if (!walk) return std::unexpected{walk.error()};
        auto rows = parse_list(*walk, kernel);
        if (rows || rows.error().error == Error::too_long) return rows;
        last = rows.error();
    }
    return std::unexpected{last};
}

}  // namespace sgm::guest
