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

// A row of the walk: the fields in the order of the paths below.
struct TaskRow {
    wire::WalkRow head;                 // 0
    std::int32_t pid;                   // 16
    std::int32_t tgid;                  // 20
    std::int32_t ppid;                  // 24
    std::uint32_t uid;                  // 28
    std::array<std::uint64_t, 2> comm;  // 32  kCommSize characters
    std::uint32_t state;                // 48
    std::uint32_t exit_state;           // 52
    std::uint64_t start_time;           // 56
};
static_assert(sizeof(TaskRow) == 64 && sizeof(TaskRow::comm) == kCommSize);

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

// The bytes of a word, first to last, up to its first zero byte; zeros from there on.
std::uint64_t before_zero(std::uint64_t word) {
    constexpr std::uint64_t kOnes = 0x0101'0101'0101'0101;
    // The lowest bit that is set lies in the first zero byte.
    const std::uint64_t zeros = (word - kOnes) & ~word & (kOnes << 7);
    return zeros == 0 ? word : word & (((zeros & (~zeros + 1)) >> 7) - 1);
}

// False: the row cannot be a task that the kernel keeps in its list.
bool parse_row(Bytes bytes, wire::ProcessRow& row) {
    const auto task = Reader{bytes}.take<TaskRow>();
    if (!task || task->head.bad_fields != 0) return false;
    if (task->head.node >> 63 == 0) return false;  // not a kernel address
    if (task->pid < 0 || task->pid > kMaxPid || task->tgid != task->pid || task->ppid < 0 ||
        task->ppid > kMaxPid || task->comm[1] >> 56 != 0)
        return false;
    // The kernel leaves what an older, longer name had behind the terminating zero.
    const std::uint64_t begin = before_zero(task->comm[0]);
    const std::uint64_t rest = begin >> 56 == 0 ? 0 : before_zero(task->comm[1]);
    row = {.task = task->head.node,
           .start_time_ns = task->start_time,
           .pid = task->pid,
           .tgid = task->tgid,
           .ppid = task->ppid,
           .uid = task->uid,
           // Disjoint bits; /proc shows their sum (kernel fs/proc/array.c).
           .state = task->state | task->exit_state,
           .reserved = 0,
           .comm = std::bit_cast<std::array<char, kCommSize>>(std::array{begin, rest})};
    return true;
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
    wire::ProcessRow idle{};
    if (walk.node_count == 0 || !parse_row(walk.row(0), idle) || idle.task != kernel.init_task() ||
        idle.pid != 0 || std::string_view{idle.comm.data()} != kIdleComm)
        return std::unexpected{Failure{Error::kernel_changed}};
    switch (walk.stop) {
        case wire::WalkStop::end: break;
        case wire::WalkStop::bound: return std::unexpected{Failure{Error::too_long}};
        case wire::WalkStop::cycle: return std::unexpected{Failure{Error::cycle}};
        case wire::WalkStop::fault: return std::unexpected{Failure{Error::fault, walk.fault}};
    }
    std::vector<wire::ProcessRow> rows(walk.node_count - 1);
    for (std::uint32_t i = 1; i < walk.node_count; ++i) {
        wire::ProcessRow& row = rows[i - 1];
        if (!parse_row(walk.row(i), row) || row.pid == 0)
            return std::unexpected{Failure{Error::implausible}};
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
