// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/domain.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>

#include "config/temporary_directory.hpp"
#include "hypervisor/core/operations.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/testing/fake_qemu.hpp"
#include "hypervisor/qemu/testing/wait.hpp"

namespace sgm::qemu {
namespace {

using testing::FakeQemu;

constexpr std::uint64_t kSize = 64ull << 20;

class DomainTest : public ::testing::Test {
  protected:
    DomainTest() {
        EXPECT_EQ(::ftruncate(ram.get(), kSize), 0);
        attached = domain.attach();
    }
    DomainSettings settings() {
        return {.uuid = {1, 2, 3},
                .memory = fmt::format("/proc/self/fd/{}", ram.get()),
                .qmp = directory / "qmp",
                .backend = "",
                .given = {},
                .qmp_connection = nullptr};
    }
    // What the domain's own thread does comes a moment later.
    ::testing::AssertionResult until(std::string_view what, const std::function<bool()>& is_so) {
        return testing::comes_true(what, [&] {
            domain.refresh();
            return is_so();
        });
    }
    std::int64_t count(std::string_view command) const {
        return std::ranges::count(qemu->commands(), command);
    }

    config::TemporaryDirectory directory;
    Descriptor ram{::memfd_create("ram", MFD_CLOEXEC)};
    std::unique_ptr<FakeQemu> qemu = std::make_unique<FakeQemu>(directory / "qmp");
    QemuDomain domain{settings(), 100};
    config::Result<void> attached;
};

TEST_F(DomainTest, attaches_and_tells_what_qemu_says) {
    ASSERT_TRUE(attached.has_value()) << attached.error().sentence;
    EXPECT_EQ(domain.epoch(), 100u);
    EXPECT_EQ(domain.vcpu_count(), 2u);
    EXPECT_EQ(domain.readability(), wire::Readability::readable);
    ASSERT_EQ(domain.ram_ranges().size(), 2u);
    EXPECT_EQ(domain.ram_ranges()[1].start + domain.ram_ranges()[1].size, kSize);
}

TEST_F(DomainTest, a_whole_search_and_reads_of_all_ram_leave_the_file_as_it_was) {
    ASSERT_EQ(::pwrite(ram.get(), "needle", 6, 0x234567), 6);
    hypervisor::testing::SyntheticPort port;
    hypervisor::Operations operations{port};
    std::vector<std::uint8_t> answer(wire::kMaxAnswerSize);
    struct stat before{};
    struct stat after{};
    ASSERT_EQ(::fstat(ram.get(), &before), 0);
    for (std::uint64_t at = 0; at < kSize; at += wire::kMaxReadSize) {
        ASSERT_TRUE(operations.execute(domain,
                                       hypervisor::testing::BatchBuilder{}
                                           .read(0, wire::Paging::physical, at, wire::kMaxReadSize)
                                           .bytes(),
                                       answer));
    }
    const auto size =
        operations.execute(domain,
                           hypervisor::testing::BatchBuilder{}
                               .search(hypervisor::testing::search_for("needle", 0, kSize))
                               .bytes(),
                           answer);
    ASSERT_TRUE(size.has_value());
    const auto reply = hypervisor::testing::take_apart(Bytes{answer}.first(*size));
    const Bytes matches = reply->ops.at(0).after<wire::SearchResult>();
    ASSERT_EQ(matches.size(), 8u);
    EXPECT_EQ(Reader{matches}.take<std::uint64_t>(), 0x234567u);
    ASSERT_EQ(::fstat(ram.get(), &after), 0);
    EXPECT_EQ(after.st_blocks, before.st_blocks);
}

TEST_F(DomainTest, nothing_but_ram_is_read) {
    std::array<std::uint8_t, 16> out{};
    EXPECT_TRUE(domain.read(0x100000, out));
    EXPECT_TRUE(domain.read(kSize - 16, out));
    EXPECT_FALSE(domain.read(0xc0000, out)) << "ROM";
    EXPECT_FALSE(domain.read(0xbfff8, out)) << "across RAM's end";
    EXPECT_FALSE(domain.read(kSize - 8, out));
    EXPECT_FALSE(domain.read(0xfec00000, out));
    EXPECT_FALSE(domain.read(~0ull - 3, out));
}

TEST_F(DomainTest, a_reset_begins_a_new_epoch) {
    qemu->event("RESET");
    (void)domain.registers(0);
    domain.refresh();
    EXPECT_EQ(domain.epoch(), 101u);
    domain.refresh();
    EXPECT_EQ(domain.epoch(), 101u);
}

TEST_F(DomainTest, holding_stops_the_vcpus_and_lets_them_go_on) {
    EXPECT_TRUE(domain.hold());
    EXPECT_EQ(count("stop"), 1);
    EXPECT_EQ(count("cont"), 0);
    EXPECT_TRUE(domain.release());
    EXPECT_EQ(count("cont"), 1);
}

TEST_F(DomainTest, a_vm_that_was_stopped_stays_stopped) {
    qemu->answer("query-status", R"({"running": false})");
    EXPECT_TRUE(domain.hold());
    EXPECT_TRUE(domain.release());
    EXPECT_EQ(count("stop"), 0);
    EXPECT_EQ(count("cont"), 0);
}

// QEMU 7.2 ends itself when it is told to stop while it formats an image (an assertion in
// block/io.c: stopping waits for the disks, and formatting opens one meanwhile).
TEST_F(DomainTest, a_qemu_that_formats_an_image_is_not_told_to_stop) {
    const auto job = [&](const char* type, const char* status) {
        qemu->answer("query-jobs",
                     fmt::format(R"([{{"id": "a", "type": "{}", "status": "{}"}}])", type, status));
    };
    for (const char* status : {"created", "running", "waiting", "pending", "aborting"}) {
        job("create", status);
        EXPECT_FALSE(domain.hold()) << status;
    }
    EXPECT_EQ(count("stop"), 0);
    EXPECT_EQ(count("cont"), 0);
    job("mirror", "running");
    EXPECT_TRUE(domain.hold()) << "QEMU pauses its other jobs";
    EXPECT_TRUE(domain.release());
    job("create", "concluded");
    EXPECT_TRUE(domain.hold());
    EXPECT_TRUE(domain.release());
}

TEST_F(DomainTest, a_vm_that_did_not_go_on_is_told_again_after_the_next_hold) {
    EXPECT_TRUE(domain.hold());
    qemu->refuse("cont");
    EXPECT_FALSE(domain.release());
    // Stopped, and by us: not what its administrator wants.
    qemu->answer("query-status", R"({"running": false})");
    qemu->answer("cont", "{}");
    EXPECT_TRUE(domain.hold());
    EXPECT_EQ(count("stop"), 1);
    EXPECT_TRUE(domain.release());
    EXPECT_GE(count("cont"), 2);
}

TEST_F(DomainTest, answers_that_are_not_what_they_should_be_are_no_answers) {
    for (const char* strange : {"[]", "17", "null", R"("text")", R"({"running": "yes"})"}) {
        qemu->answer("query-status", strange);
        qemu->answer("info registers -a", strange);
        (void)domain.hold();
        (void)domain.release();
        EXPECT_FALSE(domain.registers(0).has_value()) << strange;
    }
    EXPECT_EQ(count("stop"), 0);
    EXPECT_EQ(domain.readability(), wire::Readability::readable);
}

TEST_F(DomainTest, vcpus_that_someone_else_let_run_were_not_held) {
    EXPECT_TRUE(domain.hold());
    qemu->event("RESUME");
    (void)domain.registers(0);
    EXPECT_FALSE(domain.release());
    EXPECT_EQ(domain.epoch(), 101u);
}

TEST_F(DomainTest, a_resume_that_is_not_ours_begins_a_new_epoch_as_loadvm_tells_of_nothing_else) {
    EXPECT_TRUE(domain.hold());
    EXPECT_TRUE(domain.release());
    EXPECT_EQ(domain.epoch(), 100u) << "our own";
    qemu->event("STOP");
    qemu->event("RESUME");
    (void)domain.registers(0);
    EXPECT_EQ(domain.epoch(), 101u);
}

TEST_F(DomainTest, a_resume_between_our_cont_and_its_answer_is_ours) {
    EXPECT_TRUE(domain.hold());
    qemu->event("RESUME", "cont");
    EXPECT_TRUE(domain.release());
    EXPECT_EQ(domain.epoch(), 100u);
}

TEST_F(DomainTest, a_qemu_that_hangs_keeps_nobody_waiting_and_its_vcpus_go_on_when_it_answers) {
    qemu->hang("stop");
    EXPECT_FALSE(domain.hold());
    EXPECT_TRUE(domain.link().is_stuck());
    EXPECT_FALSE(domain.hold()) << "at once";
    EXPECT_FALSE(domain.registers(0).has_value()) << "at once";
    EXPECT_FALSE(domain.release());
    std::array<std::uint8_t, 16> out{};
    EXPECT_TRUE(domain.read(0x100000, out)) << "reading needs no QMP";
    qemu->go_on();
    ASSERT_TRUE(until("cont", [&] { return count("cont") == 1; }));
    ASSERT_TRUE(until("QEMU answers", [&] { return !domain.link().is_stuck(); }));
}

TEST_F(DomainTest, an_endless_stream_of_events_extends_no_deadline) {
    qemu->hang("stop", "NICE_EVENT");
    EXPECT_FALSE(domain.hold());
    qemu->go_on();
    ASSERT_TRUE(until("cont", [&] { return count("cont") == 1; }));
}

TEST_F(DomainTest, vcpus_that_nobody_releases_go_on_by_themselves) {
    EXPECT_TRUE(domain.hold());
    ASSERT_TRUE(until("cont", [&] { return count("cont") == 1; }));
    EXPECT_FALSE(domain.release()) << "they ran meanwhile";
}

TEST_F(DomainTest, a_vm_is_held_at_most_a_tenth_of_the_time) {
    FakeQemu other{directory / "other"};
    DomainSettings second = settings();
    second.qmp = directory / "other";
    std::atomic<std::uint64_t> now = 1'000'000'000;
    QemuDomain shared{second, 1, nullptr, [&] { return now.load(); }};
    ASSERT_TRUE(shared.attach().has_value());
    constexpr std::uint64_t kMillisecond = 1'000'000;
    const std::uint64_t start = now;
    std::uint64_t held = 0;
    while (now - start < 100'000 * kMillisecond) {
        if (!shared.hold()) {
            now += kMillisecond;
            continue;
        }
        now += 50 * kMillisecond;
        held += 50 * kMillisecond;
        ASSERT_TRUE(shared.release());
    }
    EXPECT_LE(held, 100'000 * kMillisecond / 10 + 250 * kMillisecond);
    EXPECT_GE(held, 100'000 * kMillisecond / 11);
}

TEST_F(DomainTest, a_memory_file_that_is_cut_short_makes_its_vm_unreadable) {
    ASSERT_EQ(::ftruncate(ram.get(), kSize / 2), 0);
    std::array<std::uint8_t, 16> out{};
    EXPECT_FALSE(domain.read(kSize - 16, out));
    EXPECT_EQ(domain.readability(), wire::Readability::gone);
    EXPECT_NE(domain.reason().find("cut short"), std::string::npos);
}

TEST_F(DomainTest, private_memory_is_reported_with_its_reason) {
    FakeQemu other{directory / "other"};
    other.answer("query-memdev", R"([{"id": "ram0", "size": 67108864, "share": false}])");
    DomainSettings second = settings();
    second.qmp = directory / "other";
    QemuDomain unshared{second, 1};
    ASSERT_TRUE(unshared.attach().has_value());
    EXPECT_EQ(unshared.readability(), wire::Readability::private_memory);
    EXPECT_NE(unshared.reason().find("share=on"), std::string::npos);
    EXPECT_TRUE(unshared.ram_ranges().empty());
    std::array<std::uint8_t, 16> out{};
    EXPECT_FALSE(unshared.read(0x100000, out));
}

TEST_F(DomainTest, another_vms_qemu_is_not_attached) {
    FakeQemu other{directory / "other"};
    other.answer("query-uuid", R"({"UUID": "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"})");
    DomainSettings second = settings();
    second.qmp = directory / "other";
    const auto result = QemuDomain{second, 1}.attach();
    ASSERT_FALSE(result.has_value());
    EXPECT_NE(result.error().sentence.find("runs the VM 6f1c"), std::string::npos);
}

TEST_F(DomainTest, a_domain_that_ends_while_holding_lets_the_vcpus_go_on) {
    {
        FakeQemu other{directory / "other"};
        DomainSettings second = settings();
        second.qmp = directory / "other";
        auto held = std::make_unique<QemuDomain>(second, 1);
        ASSERT_TRUE(held->attach().has_value());
        ASSERT_TRUE(held->hold());
        held.reset();
        EXPECT_EQ(other.commands().back(), "cont");
    }
}

TEST_F(DomainTest, without_qemu_the_memory_is_gone_and_nothing_crashes) {
    qemu.reset();
    ASSERT_TRUE(
        until("QEMU is missed", [&] { return domain.readability() == wire::Readability::gone; }));
    EXPECT_EQ(domain.epoch(), 101u);
    EXPECT_TRUE(domain.ram_ranges().empty());
    EXPECT_FALSE(domain.hold());
    EXPECT_FALSE(domain.registers(0).has_value());
    std::array<std::uint8_t, 8> out{};
    EXPECT_FALSE(domain.read(0x100000, out));

    std::filesystem::remove(directory / "qmp");
    qemu = std::make_unique<FakeQemu>(directory / "qmp");
    ASSERT_TRUE(domain.attach().has_value());
    EXPECT_EQ(domain.readability(), wire::Readability::readable);
    EXPECT_EQ(domain.epoch(), 101u);
}

TEST_F(DomainTest, an_encrypted_guest_is_reported) {
    FakeQemu sev{directory / "sev"};
    sev.answer("query-sev", R"({"enabled": true})");
    DomainSettings encrypted = settings();
    encrypted.qmp = directory / "sev";
    QemuDomain other{encrypted, 1};
    ASSERT_TRUE(other.attach().has_value());
    EXPECT_EQ(other.readability(), wire::Readability::encrypted);
}

TEST_F(DomainTest, what_cannot_be_attached_is_one_sentence) {
    const auto refusal = [&](auto change) {
        DomainSettings bad = settings();
        change(bad);
        const auto result = QemuDomain{bad, 1}.attach();
        return result ? std::string{} : result.error().sentence;
    };
    FakeQemu fine{directory / "fine"};
    EXPECT_NE(refusal([&](auto& s) {
                  s.memory = directory / "none";
                  s.qmp = directory / "fine";
              }).find("cannot open"),
              std::string::npos);
    EXPECT_NE(refusal([&](auto& s) { s.qmp = directory / "none"; }).find("cannot reach QEMU's QMP"),
              std::string::npos);
    FakeQemu strange{directory / "strange"};
    strange.answer("info mtree -f", R"("nothing")");
    EXPECT_NE(refusal([&](auto& s) { s.qmp = directory / "strange"; }).find("memory map"),
              std::string::npos);
    FakeQemu stranger{directory / "stranger"};
    stranger.answer("info mtree -f", "17");
    EXPECT_NE(refusal([&](auto& s) { s.qmp = directory / "stranger"; }).find("is not a text"),
              std::string::npos);
}

}  // namespace
}  // namespace sgm::qemu
