// SPDX-License-Identifier: MIT
#include "guest/linux/kernel.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>

#include "guest/linux/tasks.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/synthetic_kernel.hpp"
#include "hypervisor/core/testing/hostile_guest.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::guest {
namespace {

using testing::SyntheticKernel;
using testing::SyntheticOptions;
using testing::SyntheticTask;

// The synthetic VM behind the real core, and what the IDS has of it.
struct World {
    explicit World(SyntheticOptions options = {})
        : kernel{std::move(options)}, port{{&kernel.vm()}}, transport{port, kernel.vm()} {}

    std::expected<Kernel, AttachError> attach() { return Kernel::attach(memory); }

    SyntheticKernel kernel;
    hypervisor::testing::SyntheticPort port;
    testing::DirectTransport transport;
    Memory memory{transport};
};

std::vector<SyntheticTask> many_tasks(std::size_t count) {
    std::vector<SyntheticTask> tasks{{1, 0, 0, "init"}, {2, 0, 0, "kthreadd"}};
    for (std::int32_t pid = 3; tasks.size() < count; ++pid)
        tasks.push_back(
            {pid, pid % 7 == 0 ? pid - 1 : 1, static_cast<std::uint32_t>(1000 + pid % 5),
             "nginx: w " + std::to_string(pid), 1, static_cast<std::uint64_t>(pid) * 10'000'000});
    return tasks;
}

void expect_equal(const std::vector<wire::ProcessRow>& rows,
                  const std::vector<SyntheticTask>& tasks) {
    ASSERT_EQ(rows.size(), tasks.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(rows[i].pid, tasks[i].pid);
        EXPECT_EQ(rows[i].tgid, tasks[i].pid);
        EXPECT_EQ(rows[i].ppid, tasks[i].ppid);
        EXPECT_EQ(rows[i].uid, tasks[i].uid);
        EXPECT_EQ(wire::get_text(rows[i].comm), tasks[i].comm);
        EXPECT_EQ(rows[i].state, tasks[i].state | tasks[i].exit_state);
        EXPECT_EQ(rows[i].start_time_ns, tasks[i].start_time_ns);
    }
}

std::string why_not(World& world) {
    const auto kernel = world.attach();
    EXPECT_FALSE(kernel);
    return kernel ? "" : kernel.error().why;
}

struct Variant {
    std::string name;
    OffsetEncoding encoding;
    bool names_kallsyms;
    wire::Paging paging;
    bool old_names;
};

class EveryKernel : public ::testing::TestWithParam<Variant> {};

TEST_P(EveryKernel, is_understood_and_gives_the_guests_own_list) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        World world{{.seed = seed,
                     .paging = GetParam().paging,
                     .encoding = GetParam().encoding,
                     .names_kallsyms = GetParam().names_kallsyms,
                     .old_names = GetParam().old_names,
                     .symbol_count = 1500 + 700 * static_cast<std::size_t>(seed)}};
        const auto tasks = many_tasks(60);
        world.kernel.set_tasks(tasks);
        const auto kernel = world.attach();
        ASSERT_TRUE(kernel) << kernel.error().why;
        EXPECT_EQ(kernel->release(), "6.1.0-synthetic");
        EXPECT_EQ(kernel->symbols().encoding(), GetParam().encoding);
        const auto rows = list_processes(world.memory, *kernel);
        ASSERT_TRUE(rows) << describe(rows.error());
        expect_equal(*rows, tasks);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, EveryKernel,
    ::testing::Values(
        Variant{"v5_10", OffsetEncoding::absolute_percpu, false, wire::Paging::four_level, true},
        Variant{"v6_1", OffsetEncoding::absolute_percpu, true, wire::Paging::four_level, false},
        Variant{"v6_12_five_level", OffsetEncoding::absolute_percpu, true, wire::Paging::five_level,
                false},
        Variant{"v6_16", OffsetEncoding::relative, true, wire::Paging::four_level, false},
        Variant{"v7_0", OffsetEncoding::place_relative, true, wire::Paging::four_level, false}),
    [](const auto& variant) { return variant.param.name; });

TEST(Attach, a_scan_after_it_is_one_exchange) {
    World world;
    const auto kernel = world.attach();
    ASSERT_TRUE(kernel);
    const std::uint64_t before = world.memory.exchanges();
    ASSERT_TRUE(list_processes(world.memory, *kernel));
    EXPECT_EQ(world.memory.exchanges(), before + 1);
}

TEST(Attach, an_empty_guest_has_no_kernel_yet) {
    hypervisor::testing::SyntheticGuest vm{16u << 20};
    hypervisor::testing::SyntheticPort port{{&vm}};
    testing::DirectTransport transport{port, vm};
    Memory memory{transport};
    const auto kernel = Kernel::attach(memory);
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, AttachError::Kind::no_kernel);
}

TEST(Attach, unreadable_memory_is_reported_as_that) {
    World world;
    world.kernel.vm().current_readability = wire::Readability::encrypted;
    const auto kernel = world.attach();
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, AttachError::Kind::unreadable);
}

TEST(Attach, a_kernel_without_btf_is_unsupported_and_says_so) {
    World world{{.has_btf = false}};
    const auto kernel = world.attach();
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, AttachError::Kind::unsupported);
    EXPECT_EQ(kernel.error().why,
              "unsupported kernel: kernel has no BTF type information (CONFIG_DEBUG_INFO_BTF)");
    EXPECT_EQ(kernel.error().release, "6.1.0-synthetic");
}

TEST(Attach, an_idle_task_of_another_name_is_unsupported) {
    World world;
    const auto attached = world.attach();
    ASSERT_TRUE(attached);
    world.kernel.vm().write_virtual_u64(world.kernel.init_task() + attached->layout().task.comm,
                                        0x41);
    EXPECT_TRUE(why_not(world).starts_with("unsupported kernel: its process list"));
}

TEST(Attach, a_list_without_process_1_is_unsupported) {
    World world{{.tasks = {{2, 0, 0, "kthreadd"}}}};
    EXPECT_EQ(why_not(world), "unsupported kernel: its process list lacks process 1");
}

TEST(Attach, encrypted_guest_memory_is_unsupported_and_says_so) {
    World world;
    std::string text = world.kernel.vmcoreinfo();
    text.replace(text.find("sme_mask)=0"), 11, "sme_mask)=1");
    world.kernel.write_vmcoreinfo(text, world.kernel.vmcoreinfo_page());
    EXPECT_EQ(why_not(world), "unsupported kernel: the kernel encrypts its memory (sme_mask)");
}

TEST(Attach, pages_that_programs_made_to_look_like_vmcoreinfo_are_passed_over) {
    World world;
    auto& vm = world.kernel.vm();
    // Physically before and after the true one: other addresses, an unmapped root, a copy of the
    // text whose release does not fit.
    const std::string& text = world.kernel.vmcoreinfo();
    std::string forged = text;
    forged.replace(forged.find("SYMBOL(_stext)=ffffffff"), 23, "SYMBOL(_stext)=fffffffe");
    world.kernel.write_vmcoreinfo(forged, 0);
    forged = text;
    forged.replace(forged.find("NUMBER(phys_base)="), 18, "NUMBER(phys_base)=4");
    world.kernel.write_vmcoreinfo(forged, vm.allocate_page());
    forged = text;
    forged.replace(forged.find("6.1.0-synthetic"), 15, "6.1.0-malicious");
    world.kernel.write_vmcoreinfo(forged, 4096);
    const auto kernel = world.attach();
    ASSERT_TRUE(kernel) << kernel.error().why;
    EXPECT_EQ(kernel->release(), "6.1.0-synthetic");
}

TEST(Attach, a_guest_full_of_false_pages_is_reported) {
    World world;
    for (std::uint64_t page = 0; page < 4100; ++page)
        world.kernel.vm().write((24u << 20) + page * 4096,
                                Bytes{reinterpret_cast<const std::uint8_t*>("OSRELEASE="), 10});
    EXPECT_EQ(why_not(world),
              "unsupported kernel: too many pages of the guest look like VMCOREINFO");
}

TEST(Attach, a_kernel_on_whose_page_tables_a_processor_runs_is_taken) {
    World world;
    world.kernel.set_registers();
    const auto kernel = world.attach();
    ASSERT_TRUE(kernel) << kernel.error().why;
    EXPECT_EQ(kernel->facts().back().source, Source::processor);
}

TEST(Attach, a_kernel_in_user_mode_with_page_table_isolation_is_recognised) {
    World world;
    world.kernel.set_registers();
    auto& vm = world.kernel.vm();
    // Two pages, aligned to their size: the kernel's top table of some process, and its user half.
    std::uint64_t pair = vm.allocate_page();
    while (pair % 0x2000 != 0)
        pair = vm.allocate_page();
    vm.write_u64(pair + 511 * 8, vm.read_u64(vm.root() + 511 * 8) | 0x60);
    vm.vcpus.front().cr3 = (std::uint64_t{1} << 63) | (pair + 0x1000) | 0x7ff;
    EXPECT_TRUE(world.attach());
}

TEST(Attach, a_pv_kernel_with_physical_addresses_of_its_own_is_found_by_its_processors) {
    World world;
    std::string text = world.kernel.vmcoreinfo();
    const std::size_t at = text.find("NUMBER(phys_base)=");
    text.replace(at, text.find('\n', at) - at, "NUMBER(phys_base)=0");
    world.kernel.write_vmcoreinfo(text, world.kernel.vmcoreinfo_page());
    // The kernel's own page table is part of its image.
    auto& vm = world.kernel.vm();
    vm.map(parse_vmcoreinfo(Bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()})
               ->swapper_pg_dir,
           vm.root());
    EXPECT_FALSE(world.attach()) << "without registers nothing tells where its page tables are";
    world.kernel.set_registers();
    const auto kernel = world.attach();
    ASSERT_TRUE(kernel) << kernel.error().why;
    EXPECT_EQ(kernel->space().root, vm.root());
    EXPECT_TRUE(list_processes(world.memory, *kernel));
}

TEST(Attach, the_remains_of_a_kernel_that_no_processor_runs_are_not_taken) {
    World world;
    world.kernel.set_registers();
    auto& vm = world.kernel.vm();
    const std::uint64_t other_root = vm.allocate_page();
    vm.write_u64(other_root + 511 * 8, vm.allocate_page() | 3);
    vm.vcpus.front().cr3 = other_root;
    const auto kernel = world.attach();
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, AttachError::Kind::no_kernel);
    EXPECT_EQ(kernel.error().why, "no kernel yet: the one in memory is not running");
}

TEST(Attach, without_paging_there_is_no_kernel_yet) {
    World world;
    world.kernel.set_registers();
    world.kernel.vm().vcpus.front().cr0 = 0x10;
    const auto kernel = world.attach();
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, AttachError::Kind::no_kernel);
}

TEST(Attach, two_kernels_that_nothing_tells_apart_are_reported) {
    World world;
    // A second page with the same contents, as a warm reboot may leave one.
    world.kernel.write_vmcoreinfo(world.kernel.vmcoreinfo(), world.kernel.vm().allocate_page());
    EXPECT_EQ(why_not(world),
              "unsupported kernel: two are in memory, and no register tells which of them runs");
}

TEST(Attach, an_image_with_anything_overwritten_gives_a_kernel_or_a_reason) {
    std::mt19937_64 random{5};
    for (int i = 0; i < 60; ++i) {
        World world{
            {.seed = 1 + random() % 3, .names_kallsyms = random() % 2 == 0, .symbol_count = 1200}};
        for (int change = 0; change < 40; ++change)
            world.kernel.vm().write_u64(
                world.kernel.image_physical() + random() % (world.kernel.image_size() - 8),
                random());
        const auto kernel = world.attach();
        if (!kernel) {
            EXPECT_FALSE(kernel.error().why.empty());
            EXPECT_LE(kernel.error().why.size(), 127u);
        }
    }
}

TEST(Attach, a_transport_that_fails_half_way_is_not_taken_for_an_unsupported_kernel) {
    class Failing final : public Transport {
      public:
        Failing(Transport& inner, int calls) : inner_{inner}, calls_{calls} {}
        std::expected<Bytes, TransportError> exchange(Bytes batch) override {
            if (calls_-- <= 0) return std::unexpected{TransportError::unreachable};
            return inner_.exchange(batch);
        }

      private:
        Transport& inner_;
        int calls_;
    };
    for (const bool names_kallsyms : {true, false}) {
        World world{{.names_kallsyms = names_kallsyms}};
        world.kernel.set_registers();
        for (int calls = 0;; ++calls) {
            Failing failing{world.transport, calls};
            Memory memory{failing};
            const auto kernel = Kernel::attach(memory);
            if (kernel) break;
            ASSERT_EQ(kernel.error().kind, AttachError::Kind::memory)
                << calls << kernel.error().why;
            ASSERT_LT(calls, 100);
        }
    }
}

// ---------------------------------------------------------------------------------------------

class ProcessList : public ::testing::Test {
  protected:
    ProcessList() : kernel_{*world_.attach()} {}

    auto list(Consistency consistency = Consistency::live) {
        return list_processes(world_.memory, kernel_, consistency);
    }
    hypervisor::testing::SyntheticGuest& vm() { return world_.kernel.vm(); }

    World world_{{.tasks = many_tasks(40)}};
    Kernel kernel_;
};

TEST_F(ProcessList, names_with_spaces_colons_and_any_bytes_come_through) {
    std::vector<SyntheticTask> tasks{{1, 0, 0, "init"},
                                     {2, 1, 0xffff'fffe, "a b:c\t\"'"},
                                     {3, 2, 0, ""},
                                     {4, 2, 0, "\x01\xff\xfe"},
                                     {4'194'304, 2, 0, "fifteen bytes 1", 0x402},
                                     {5, 1, 0, "zombie", 0x80, 5, 0x20}};
    world_.kernel.set_tasks(tasks);
    const auto rows = list();
    ASSERT_TRUE(rows);
    expect_equal(*rows, tasks);
}

TEST_F(ProcessList, what_an_older_name_left_behind_the_zero_is_not_shown) {
    vm().write_virtual(world_.kernel.comm(5),
                       Bytes{reinterpret_cast<const std::uint8_t*>("sh\0nx: w"), 8});
    const auto rows = list();
    ASSERT_TRUE(rows);
    EXPECT_EQ((*rows)[4].comm, (std::array<char, 16>{'s', 'h'}));
}

TEST_F(ProcessList, a_list_longer_than_one_answer_is_whole) {
    const auto tasks = many_tasks(5000);
    world_.kernel.set_tasks(tasks);
    const auto rows = list();
    ASSERT_TRUE(rows);
    expect_equal(*rows, tasks);
}

TEST_F(ProcessList, a_list_torn_once_is_read_again) {
    // A write in the middle of the walk, healed before the next attempt.
    const std::uint64_t link = world_.kernel.link(20);
    const std::uint64_t next = vm().read_u64(vm().physical_of(link));
    int reads = 0;
    vm().before_read = [&] {
        ++reads;
        if (reads == 30) vm().write_virtual_u64(link, 0xffff'9999'0000'0000);
        if (reads == 2000) vm().write_virtual_u64(link, next);
    };
    auto rows = list();
    for (int i = 0; i < 20 && !rows; ++i)
        rows = list();
    vm().before_read = [] {};
    ASSERT_TRUE(rows);
    EXPECT_EQ(rows->size(), 40u);
}

TEST_F(ProcessList, a_list_that_stays_broken_is_an_error_and_the_processors_were_held) {
    vm().write_virtual_u64(world_.kernel.link(20), 0xffff'9999'0000'0000);
    const auto rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::fault);
    EXPECT_GT(vm().holds, 0);
}

TEST_F(ProcessList, a_circle_without_the_head_is_an_error) {
    vm().write_virtual_u64(world_.kernel.link(20), world_.kernel.link(10));
    const auto rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::cycle);
}

TEST_F(ProcessList, rows_that_cannot_be_tasks_are_an_error_not_left_out) {
    const std::uint64_t tgid = world_.kernel.tgid(20);
    vm().write_virtual(tgid, bytes_of(std::int32_t{21}));
    auto rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::implausible);
    vm().write_virtual(tgid, bytes_of(std::int32_t{20}));
    EXPECT_TRUE(list());

    vm().write_virtual_u64(world_.kernel.task(20) + kernel_.layout().task.real_cred, 0);
    rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::implausible);
}

TEST_F(ProcessList, two_tasks_with_one_pid_are_an_error) {
    const std::uint64_t ids = world_.kernel.task(20) + kernel_.layout().task.pid;
    vm().write_virtual(ids, bytes_of(std::int32_t{21}));
    vm().write_virtual(world_.kernel.tgid(20), bytes_of(std::int32_t{21}));
    const auto rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::implausible);
}

TEST_F(ProcessList, a_kernel_that_is_gone_is_told_from_a_broken_list) {
    vm().write_virtual(world_.kernel.init_task(), std::vector<std::uint8_t>(4000));
    auto rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::kernel_changed);
    // The page tables, too.
    vm().write(vm().root(), std::vector<std::uint8_t>(4096));
    rows = list();
    ASSERT_FALSE(rows);
    EXPECT_EQ(rows.error().error, Error::kernel_changed);
}

TEST_F(ProcessList, random_task_memory_gives_a_list_or_an_error) {
    std::mt19937_64 random{6};
    for (int i = 0; i < 300; ++i) {
        world_.kernel.set_tasks(many_tasks(40));
        for (int change = 0; change < 3; ++change)
            vm().write_virtual_u64(
                world_.kernel.task(static_cast<std::int32_t>(1 + random() % 40)) + random() % 4080,
                random());
        if (const auto rows = list(); rows) {
            EXPECT_EQ(rows->size(), 40u);
        }
    }
}

TEST_F(ProcessList, of_memory_that_changes_while_it_is_read_is_a_list_or_an_error) {
    hypervisor::testing::ChangingGuest guest{vm()};
    testing::DirectTransport transport{world_.port, guest};
    Memory memory{transport};
    std::jthread changer{[&](const std::stop_token& stop) {
        std::mt19937_64 random{8};
        while (!stop.stop_requested())
            guest.change(random);
    }};
    for (int round = 0; round < 20; ++round) {
        if (const auto rows = list_processes(memory, kernel_); rows) {
            EXPECT_LE(rows->size(), kMaxProcesses);
        } else {
            EXPECT_FALSE(describe(rows.error()).empty());
        }
        EXPECT_EQ(guest.reads_outside_ram, 0u);
    }
}

}  // namespace
}  // namespace sgm::guest
