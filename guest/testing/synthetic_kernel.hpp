// SPDX-License-Identifier: MIT
// For tests: a small VM whose memory holds what the IDS needs of a Linux kernel: page tables, an
// image with VMCOREINFO, kallsyms and BTF, and a list of tasks. Offsets, names and places are
// generated from a seed, so that nothing can depend on those of one kernel.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "guest/linux/kallsyms.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::guest::testing {

struct SyntheticTask {
    std::int32_t pid;
    std::int32_t ppid;  // 0: the idle task, pid 0
    std::uint32_t uid;
    std::string comm;  // at most 15 bytes
    std::uint32_t state = 1;
    std::uint64_t start_time_ns = 1'000'000'000;
    std::uint32_t exit_state = 0;
};

struct SyntheticOptions {
    std::uint64_t seed = 1;
    std::string release = "6.1.0-synthetic";
    wire::Paging paging = wire::Paging::four_level;
    OffsetEncoding encoding = OffsetEncoding::absolute_percpu;
    bool names_kallsyms = true;  // false: as before 6.0, the tables must be found
    bool has_btf = true;
    bool old_names = false;  // task_struct.state and real_start_time
    std::size_t symbol_count = 2000;
    std::vector<SyntheticTask> tasks = {{1, 0, 0, "init"}, {2, 0, 0, "kthreadd"}};
    std::uint64_t ram_size = 64u << 20;
    // From one task to the next, all in a direct map of 2 MiB pages that begins in the middle of
    // RAM, as real kernels have it. 0: each task in a page of its own.
    std::uint64_t task_stride = 0;
};

class SyntheticKernel final {
  public:
    explicit SyntheticKernel(SyntheticOptions options = {});

    [[nodiscard]] hypervisor::testing::SyntheticGuest& vm() { return vm_; }
    [[nodiscard]] const SyntheticOptions& options() const { return options_; }

    // Replaces the list. A task with the pid and start time of one before keeps its address.
    void set_tasks(std::vector<SyntheticTask> tasks);

    // What the processor shows of a kernel that runs; without it the port reads no registers.
    void set_registers();

    [[nodiscard]] std::uint64_t init_task() const { return init_task_; }
    // Guest-virtual address of the task_struct of `pid`, which is in the list; and of its parts.
    [[nodiscard]] std::uint64_t task(std::int32_t pid) const;
    [[nodiscard]] std::uint64_t link(std::int32_t pid) const { return task(pid) + at_.tasks; }
    [[nodiscard]] std::uint64_t comm(std::int32_t pid) const { return task(pid) + at_.comm; }
    [[nodiscard]] std::uint64_t tgid(std::int32_t pid) const { return task(pid) + at_.tgid; }

    // Guest-physical page of VMCOREINFO, and its text.
    [[nodiscard]] std::uint64_t vmcoreinfo_page() const { return vmcoreinfo_page_; }
    [[nodiscard]] const std::string& vmcoreinfo() const { return vmcoreinfo_; }
    void write_vmcoreinfo(const std::string& text, std::uint64_t page);

    // Guest-physical start and size of the kernel image.
    [[nodiscard]] std::uint64_t image_physical() const { return image_physical_; }
    [[nodiscard]] std::uint64_t image_size() const { return image_size_; }

  private:
    struct Offsets {
        std::uint32_t tasks, pid, tgid, real_parent, real_cred, comm, state, exit_state, start_time;
        std::uint32_t size;
        std::uint32_t uid;
    };
    struct Placed {
        SyntheticTask task;
        std::uint64_t address;
    };

    [[nodiscard]] std::vector<std::uint8_t> make_btf(std::mt19937_64& random);
    void write_task(std::uint64_t address, const SyntheticTask& task, std::uint64_t parent);

    SyntheticOptions options_;
    hypervisor::testing::SyntheticGuest vm_;
    Offsets at_{};
    std::uint64_t image_address_ = 0;
    std::uint64_t image_physical_ = 0;
    std::uint64_t image_size_ = 0;
    std::uint64_t init_task_ = 0;
    std::uint64_t heap_ = 0;  // next unused guest-virtual page for tasks
    std::uint64_t vmcoreinfo_page_ = 0;
    std::string vmcoreinfo_;
    std::vector<Placed> placed_;
};

}  // namespace sgm::guest::testing
