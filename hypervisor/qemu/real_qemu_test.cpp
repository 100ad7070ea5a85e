// SPDX-License-Identifier: MIT
// The port against QEMU itself.
#include "hypervisor/qemu/testing/real_qemu.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <array>
#include <fstream>
#include <functional>

#include "config/temporary_directory.hpp"
#include "hypervisor/qemu/discover.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/testing/wait.hpp"

namespace sgm::qemu {
namespace {

using testing::RealQemu;

constexpr std::uint64_t kMiB = 1ull << 20;
constexpr std::uint64_t kGiB = 1ull << 30;
constexpr std::uint64_t kLow = 0x1122334455667788;
constexpr std::uint64_t kHigh = 0x99aabbccddeeff00;

std::vector<std::string> value_at(std::uint64_t address, std::uint64_t value) {
    return {"-device", fmt::format("loader,addr={:#x},data={:#x},data-len=8", address, value)};
}

std::vector<std::string> backend(const std::string& id, const std::string& size,
                                 const std::string& kind = "memory-backend-memfd,share=on") {
    return {"-object", fmt::format("{},id={},size={}", kind, id, size)};
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

std::uint64_t value(QemuDomain& domain, std::uint64_t physical) {
    std::uint64_t word = 0;
    return domain.read(physical, mutable_bytes_of(word)) ? word : ~0ull;
}

class RealQemuTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!testing::has_qemu()) GTEST_SKIP() << "qemu-system-x86_64 is not installed";
    }
    static Deadline soon() { return std::chrono::steady_clock::now() + std::chrono::seconds{20}; }

    void start(const std::vector<std::string>& options) {
        qemu = std::make_unique<RealQemu>(directory.path(), options);
        ASSERT_TRUE(qemu->was_started());
    }
    // The way of `sgmonitor hypervisor attach`.
    std::unique_ptr<QemuDomain> attach(ContinueGuard* guard = nullptr) {
        DomainSettings settings{};
        settings.uuid = {1};
        settings.qmp = directory / "qmp";
        auto qmp = Qmp::connect(settings.qmp);
        EXPECT_TRUE(qmp && qmp->start(soon()));
        auto memory = find_memory(*qmp, soon());
        EXPECT_TRUE(memory.has_value()) << memory.error().sentence;
        for (FoundMemory& found : *memory)
            settings.given.push_back(
                {found.backend, std::make_shared<Descriptor>(std::move(found.file))});
        qmp->close();
        settings.qmp_connection =
            std::make_shared<Descriptor>(Qmp::connect(settings.qmp)->release());
        files = settings.given;
        auto domain = std::make_unique<QemuDomain>(settings, 1, guard);
        const auto attached = domain->attach();
        EXPECT_TRUE(attached.has_value()) << attached.error().sentence;
        return domain;
    }
    // What the administrator of the VM does, over a monitor of his own.
    void admin(const std::string& command, nlohmann::json arguments = {}) {
        auto qmp = Qmp::connect(directory / "admin");
        ASSERT_TRUE(qmp && qmp->start(soon()));
        const auto done = qmp->execute(command, std::move(arguments), soon());
        ASSERT_TRUE(done.has_value()) << done.error().sentence;
        qmp->close();
    }
    nlohmann::json admin_asks(const std::string& command) {
        auto qmp = Qmp::connect(directory / "admin");
        EXPECT_TRUE(qmp && qmp->start(soon()));
        if (!qmp) return {};
        const auto reply = qmp->execute(command, {}, soon());
        qmp->close();
        return reply ? *reply : nlohmann::json{};
    }
    bool admin_sees_it_running() {
        const nlohmann::json status = admin_asks("query-status");
        return status.is_object() && status.value("running", false);
    }
    // A disk that a VM's state fits into. Formatting it is a job, and meanwhile QEMU is only asked
    // how far that is: QEMU 7.2 may end itself when told anything else about the image.
    void add_disk() {
        const std::string disk = (directory / "disk").string();
        std::ofstream{disk};
        admin("blockdev-add", {{"driver", "file"}, {"node-name", "file"}, {"filename", disk}});
        admin("blockdev-create",
              {{"job-id", "create"},
               {"options", {{"driver", "qcow2"}, {"file", "file"}, {"size", kMiB}}}});
        ASSERT_TRUE(until("the image is formatted", [&] {
            const nlohmann::json jobs = admin_asks("query-jobs");
            return jobs.is_array() && jobs.size() == 1 && jobs[0]["status"] == "concluded";
        }));
        admin("job-dismiss", {{"id", "create"}});
        admin("blockdev-add", {{"driver", "qcow2"}, {"node-name", "disk"}, {"file", "file"}});
    }
    // Waits for what QEMU or the domain's own thread does, but not for one that has ended.
    ::testing::AssertionResult until(std::string_view what, const std::function<bool()>& is_so) {
        const auto has_ended = [&] { return qemu->has_ended(); };
        return testing::comes_true(what, is_so, has_ended);
    }
    ::testing::AssertionResult reaches_epoch(QemuDomain& domain, std::uint64_t epoch) {
        return until(fmt::format("epoch {}", epoch), [&] { return domain.epoch() >= epoch; });
    }

    config::TemporaryDirectory directory;
    std::unique_ptr<RealQemu> qemu;
    std::vector<GivenMemory> files;
};

TEST_F(RealQemuTest, q35_with_5_gib_is_read_below_and_above_4_gib) {
    start(std::vector<std::string>{"-m", "5G", "-machine", "q35,memory-backend=ram"} +
          backend("ram", "5G") + value_at(16 * kMiB, kLow) + value_at(5 * kGiB, kHigh));
    const auto domain = attach();
    EXPECT_EQ(domain->readability(), wire::Readability::readable);
    EXPECT_EQ(value(*domain, 16 * kMiB), kLow);
    EXPECT_EQ(value(*domain, 5 * kGiB), kHigh);
    EXPECT_EQ(domain->ram_ranges().back().start + domain->ram_ranges().back().size, 7 * kGiB);
    EXPECT_TRUE(domain->registers(0).has_value());
}

TEST_F(RealQemuTest, i440fx_with_5_gib_is_read_below_and_above_4_gib) {
    start(std::vector<std::string>{"-m", "5G", "-machine", "pc,memory-backend=ram"} +
          backend("ram", "5G") + value_at(16 * kMiB, kLow) + value_at(5 * kGiB, kHigh));
    const auto domain = attach();
    EXPECT_EQ(value(*domain, 16 * kMiB), kLow);
    EXPECT_EQ(value(*domain, 5 * kGiB), kHigh);
    EXPECT_EQ(domain->ram_ranges().back().start + domain->ram_ranges().back().size, 6 * kGiB);
}

TEST_F(RealQemuTest, numa_nodes_and_plugged_memory_have_a_file_each) {
    start(std::vector<std::string>{"-m", "4G,slots=4,maxmem=16G", "-machine", "q35"} +
          backend("a", "2G") +
          backend("b", "2G", "memory-backend-file,share=on,mem-path=/dev/shm") +
          std::vector<std::string>{"-numa", "node,memdev=a", "-numa", "node,memdev=b"} +
          value_at(16 * kMiB, kLow) + value_at(5 * kGiB, kHigh));
    admin("object-add",
          {{"qom-type", "memory-backend-memfd"}, {"id", "more"}, {"size", kGiB}, {"share", true}});
    admin("device_add", {{"driver", "pc-dimm"}, {"id", "dimm0"}, {"memdev", "more"}});
    const auto domain = attach();
    ASSERT_EQ(files.size(), 3u);
    EXPECT_EQ(domain->ram_size(), 5 * kGiB - 256 * 1024) << "without the hole for ROM";
    EXPECT_EQ(value(*domain, 16 * kMiB), kLow);
    EXPECT_EQ(value(*domain, 5 * kGiB), kHigh);
    // Plugged memory has no loader: written as QEMU would, through its file.
    ASSERT_EQ(domain->readability(), wire::Readability::readable);
    const auto more = std::ranges::find(files, "more", &GivenMemory::backend);
    std::fstream file{fmt::format("/proc/self/fd/{}", more->file->get()),
                      std::ios::in | std::ios::out};
    file.write(reinterpret_cast<const char*>(&kHigh), sizeof(kHigh)).flush();
    ASSERT_TRUE(file.good());
    EXPECT_EQ(value(*domain, domain->ram_ranges().back().start), kHigh);
}

TEST_F(RealQemuTest, memory_that_is_plugged_later_is_told_and_not_passed_over) {
    start(std::vector<std::string>{"-m", "1G,slots=4,maxmem=16G", "-machine",
                                   "q35,memory-backend=ram"} +
          backend("ram", "1G"));
    const auto domain = attach();
    ASSERT_EQ(domain->readability(), wire::Readability::readable);
    admin("object-add",
          {{"qom-type", "memory-backend-memfd"}, {"id", "more"}, {"size", kGiB}, {"share", true}});
    admin("device_add", {{"driver", "pc-dimm"}, {"id", "dimm0"}, {"memdev", "more"}});
    admin("system_reset");  // makes it look at once
    ASSERT_TRUE(until("the memory is seen", [&] {
        domain->refresh();
        return domain->readability() != wire::Readability::readable;
    }));
    EXPECT_EQ(domain->readability(), wire::Readability::private_memory);
    EXPECT_NE(domain->reason().find("more"), std::string::npos) << domain->reason();
}

TEST_F(RealQemuTest, memory_that_is_not_shared_is_unreadable_with_its_reason) {
    start({"-m", "256"});
    const auto domain = attach();
    EXPECT_EQ(domain->readability(), wire::Readability::private_memory);
    EXPECT_NE(domain->reason().find("share=on"), std::string::npos) << domain->reason();
    EXPECT_TRUE(domain->ram_ranges().empty());
}

TEST_F(RealQemuTest, reset_and_resume_begin_epochs_and_our_own_holds_do_not) {
    start(std::vector<std::string>{"-m", "64", "-machine", "q35,memory-backend=ram"} +
          backend("ram", "64M"));
    const auto domain = attach();
    ASSERT_EQ(domain->epoch(), 1u);
    admin("system_reset");
    ASSERT_TRUE(reaches_epoch(*domain, 2));
    admin("cont");
    ASSERT_TRUE(reaches_epoch(*domain, 3));
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(domain->hold());
        EXPECT_FALSE(admin_sees_it_running());
        ASSERT_TRUE(domain->release());
        EXPECT_TRUE(admin_sees_it_running());
    }
    EXPECT_EQ(domain->epoch(), 3u);
}

TEST_F(RealQemuTest, loadvm_begins_a_new_epoch) {
    start(std::vector<std::string>{"-m", "64", "-machine", "q35,memory-backend=ram"} +
          backend("ram", "64M"));
    ASSERT_NO_FATAL_FAILURE(add_disk());
    const auto monitor = [&](const std::string& line) {
        admin("human-monitor-command", {{"command-line", line}});
    };
    const auto domain = attach();
    admin("cont");
    ASSERT_TRUE(reaches_epoch(*domain, 2));
    monitor("savevm point");
    // savevm stops the vCPUs too: it looks like a restore.
    ASSERT_TRUE(reaches_epoch(*domain, 3));
    monitor("loadvm point");
    ASSERT_TRUE(reaches_epoch(*domain, 4));
    EXPECT_EQ(domain->epoch(), 4u);
}

TEST_F(RealQemuTest, a_vm_that_is_held_goes_on_when_the_hypervisor_process_is_killed) {
    start(std::vector<std::string>{"-m", "64", "-machine", "q35,memory-backend=ram"} +
          backend("ram", "64M"));
    admin("cont");
    const pid_t hypervisor = ::fork();
    if (hypervisor == 0) {
        const auto guard = ContinueGuard::start();
        const auto domain = attach(guard->get());
        ::_exit(domain->hold() ? ::raise(SIGKILL) : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(hypervisor, &status, 0), hypervisor);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it was not held";
    EXPECT_TRUE(until("the VM runs", [&] { return admin_sees_it_running(); }));
}

}  // namespace
}  // namespace sgm::qemu
