// SPDX-License-Identifier: MIT
// Where the fields of kernel structures are that the views read, derived from BTF; and which
// kernel symbols they begin at.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "guest/linux/btf.hpp"

namespace sgm::guest {

// BTF does not type ordinary globals, so this is said here.
struct KernelSymbol {
    std::string_view name;
    std::string_view type;  // a struct of the kernel
};
inline constexpr KernelSymbol kInitTask{"init_task", "task_struct"};

// The kernel's TASK_COMM_LEN, terminating zero included (include/linux/sched.h).
inline constexpr std::uint32_t kCommSize = 16;

struct TaskLayout {
    std::uint32_t size;   // of struct task_struct
    std::uint32_t tasks;  // list_head: links thread group leaders, init_task is the head
    std::uint32_t pid;    // in the initial namespace
    std::uint32_t tgid;
    std::uint32_t real_parent;  // task_struct *; /proc shows its tgid as PPid
    std::uint32_t real_cred;    // cred *: the objective credentials, which /proc shows
    std::uint32_t comm;
    std::uint32_t state;       // __state since 5.14, `state` (8 bytes, of which the low 4) before
    std::uint32_t exit_state;  // EXIT_ZOMBIE and the like
    std::uint32_t start_time;  // ns of CLOCK_BOOTTIME: start_boottime since 5.5, before
                               // real_start_time
};

struct Layout {
    TaskLayout task;
    std::uint32_t cred_uid;  // real uid, a kuid_t
};

struct LayoutError {
    BtfError error;
    std::string_view what;  // the struct or member, "task_struct.comm"
};
[[nodiscard]] std::string describe(const LayoutError& error);

[[nodiscard]] std::expected<Layout, LayoutError> derive_layout(const Btf& btf);

}  // namespace sgm::guest
