// SPDX-License-Identifier: MIT
// A guest that overwrites its own kernel: whatever lies in page tables, tasks, image and
// VMCOREINFO, attaching and the process list give facts or an error, from its own RAM.
#include "guest/linux/tasks.hpp"

#include "fuzz/target.hpp"
#include "guest/linux/kernel.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/synthetic_kernel.hpp"

namespace sgm::fuzz {
namespace {

using guest::testing::SyntheticKernel;

std::vector<guest::testing::SyntheticTask> many_tasks() {
    std::vector<guest::testing::SyntheticTask> tasks;
    for (std::int32_t pid = 1; pid <= 24; ++pid)
        tasks.push_back({pid, pid / 2, 0, "task"});
    return tasks;
}

struct World {
    SyntheticKernel kernel{{.symbol_count = 1200, .tasks = many_tasks()}};
    hypervisor::testing::SyntheticPort port{{&kernel.vm()}};
    guest::testing::DirectTransport transport{port, kernel.vm()};
    guest::Memory memory{transport};
    guest::Kernel attached = guest::Kernel::attach(memory).value();
};

// What is worth overwriting, and what with.
std::uint64_t place_from(Choices& choices, World& world) {
    SyntheticKernel& kernel = world.kernel;
    const std::uint64_t task = kernel.task(1 + choices.byte() % 24);
    const std::uint64_t offset = choices.take<std::uint16_t>();
    switch (choices.byte() % 8) {
        case 0: return kernel.vmcoreinfo_page() + offset % 4096 / 8 * 8;
        case 1: return kernel.image_physical() + offset * 64 % kernel.image_size() / 8 * 8;
        case 2: return kernel.vm().entry(task, 1 + offset % 4);
        case 3: return kernel.vm().physical_of(kernel.link(1 + choices.byte() % 24));
        default: return kernel.vm().physical_of(task + offset % 4088);
    }
}

std::uint64_t value_from(Choices& choices, World& world) {
    switch (choices.byte() % 6) {
        case 0: return world.kernel.link(1 + choices.byte() % 24);
        case 1: return world.kernel.vm().root() | choices.byte();
        case 2: return 0;
        case 3: return choices.byte();
        default: return choices.take<std::uint64_t>();
    }
}

}  // namespace

void run(Bytes input) {
    static World world;
    auto& vm = world.kernel.vm();
    Choices choices{input};
    const bool attaches = choices.byte() % 4 == 0;
    const bool holds = choices.byte() % 2 == 0;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
    for (int changes = 0; changes < 32 && !choices.empty(); ++changes)
        places.emplace_back(place_from(choices, world), value_from(choices, world));
    std::vector<std::pair<std::uint64_t, std::uint64_t>> before;
    for (const auto& [place, value] : places) {
        before.emplace_back(place, vm.read_u64(place));
        vm.write_u64(place, value);
    }

    if (attaches) {
        if (const auto kernel = guest::Kernel::attach(world.memory); !kernel)
            check(kernel.error().why.size() <= 127, "a reason is one short sentence");
    }
    const auto list = guest::list_processes(
        world.memory, world.attached, holds ? guest::Consistency::held : guest::Consistency::live);
    if (list) check(list->size() <= guest::kMaxProcesses, "a list keeps to its bound");
    check(vm.reads_outside_ram == 0, "only the domain's RAM is read");
    check(!vm.is_held(), "vCPUs are let go");

    for (auto change = before.rbegin(); change != before.rend(); ++change)
        vm.write_u64(change->first, change->second);
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (std::uint8_t kind = 0; kind < 8; ++kind) {
        Recorder record;
        record.put(static_cast<std::uint8_t>(kind % 4)).put(kind);
        for (std::uint8_t change = 0; change < 3; ++change) {
            record.put(change).put(static_cast<std::uint16_t>(kind * 40)).put(kind);
            record.put(kind).put(std::uint8_t{3}).put(std::uint64_t{change});
        }
        result.push_back(record.octets());
    }
    return result;
}

}  // namespace sgm::fuzz
