// SPDX-License-Identifier: MIT
// The loader over /dev/sgx_enclave from end to end: the same signed file as software SGX loads,
// through a fake driver and a fake CPU (testing/). FAKE: everything below the system calls.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <barrier>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include "config/temporary_directory.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/device/device_enclave.hpp"
#include "sgx/loader/device/testing/fake_cpu.hpp"
#include "sgx/loader/device/testing/fake_driver.hpp"
#include "sgx/loader/soft/test_enclave.hpp"
#include "wire/ring.hpp"

namespace sgm::sgx::device {
namespace {

using soft::TestCommand;
using testing::EinitResult;
using testing::FakeDriver;
using wire::EnclaveResult;

std::vector<std::uint8_t> contents_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write(const std::filesystem::path& path, Bytes bytes) {
    std::ofstream file{path, std::ios::binary};
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

const SignerKey& signer() {
    static const SignerKey key = SignerKey::generate().value();
    return key;
}

// A machine with SGX and a signed enclave on its disk.
class DeviceTest : public ::testing::Test {
  protected:
    DeviceTest() { sign({}); }

    void sign(const SigningOptions& signing) {
        elf_ = prepare_image(contents_of(SGM_TEST_ENCLAVE), options_).value();
        sign_fields(describe_enclave(EnclaveImage::build(elf_)->measure(), signing));
    }
    void sign_fields(const Sigstruct& fields) {
        sigstruct_ = sign_sigstruct(fields, signer()).value();
        store();
    }
    void store() {
        write(request_.image, elf_);
        write(request_.sigstruct, bytes_of(sigstruct_));
    }
    [[nodiscard]] std::unique_ptr<Enclave> load() {
        auto enclave = load_device_enclave(request_, driver_);
        EXPECT_TRUE(enclave.has_value()) << enclave.error();
        return std::move(enclave.value());
    }
    void expect_refusal(std::string_view words) {
        const auto enclave = load_device_enclave(request_, driver_);
        ASSERT_FALSE(enclave.has_value());
        EXPECT_NE(enclave.error().find(words), std::string::npos) << enclave.error();
        EXPECT_EQ(driver_.open_enclaves(), 0u) << "a refused enclave is left open";
    }
    // Of the image as the signer makes it.
    static std::uint64_t soft_enclu_offset() {
        static const std::uint64_t offset = [] {
            const auto elf = prepare_image(contents_of(SGM_TEST_ENCLAVE), {.label = ""}).value();
            return EnclaveImage::build(elf)->soft_enclu_offset();
        }();
        return offset;
    }

    config::TemporaryDirectory directory_;
    ImageOptions options_{.heap_size = std::uint64_t{4} << 20,
                          .stack_size = std::uint64_t{128} << 10,
                          .label = "test"};
    LoadRequest request_{.image = directory_ / "test.elf",
                         .sigstruct = directory_ / "test.sig",
                         .fuse_key = {},
                         .monitor = {}};
    std::vector<std::uint8_t> elf_;
    Sigstruct sigstruct_{};
    FakeDriver driver_{soft_enclu_offset()};
};

// What the enclave is given, and its OCALLs over two queues.
class Host : public OcallHandler {
  public:
    explicit Host(Enclave& enclave) : enclave_{enclave} {
        ring_ = enclave.allocate(wire::kRingSize).value();
        frame_ = enclave.allocate(4096).value();
        buffer_ = enclave.allocate(wire::kMinOcallBuffer).value();
    }

    std::expected<EnclaveResult, EnclaveLoss> run(TestCommand command) {
        wire::StartInfo info{};
        info.ring = ring_.enclave_address;
        info.ocall_frame = frame_.enclave_address;
        info.buffer = buffer_.enclave_address;
        info.buffer_size = buffer_.host.size();
        info.domain[0] = static_cast<std::uint8_t>(command);
        info.features = features ? *features : enclave_.features();
        std::memcpy(frame_.host.data() + 1024, &info, sizeof info);
        return enclave_.run(wire::EcallNumber::run, frame_.enclave_address + 1024, *this);
    }

    void on_ocall(wire::OcallFrame& frame) override {
        in_ocall();
        was_inside = true;
        was_inside.notify_all();
        auto result = wire::OcallResult::ok;
        if (frame.number == wire::OcallNumber::send) {
            const Bytes message = buffer_.host.first(static_cast<std::size_t>(frame.size));
            sent.emplace_back(message.begin(), message.end());
        } else if (frame.number == wire::OcallNumber::receive) {
            if (to_receive.empty()) {
                result = wire::OcallResult::stop;
            } else {
                std::memcpy(buffer_.host.data(), to_receive.front().data(),
                            to_receive.front().size());
                frame.size = to_receive.front().size();
                to_receive.pop_front();
            }
        }
        frame.result = static_cast<std::uint32_t>(result);
    }

    std::function<void()> in_ocall = [] {};
    std::optional<std::uint32_t> features;  // what a host says that does not tell the truth
    std::deque<std::vector<std::uint8_t>> to_receive;
    std::vector<std::vector<std::uint8_t>> sent;
    std::atomic<bool> was_inside{false};

  private:
    Enclave& enclave_;
    SharedMemory ring_;
    SharedMemory frame_;
    SharedMemory buffer_;
};

TEST_F(DeviceTest, the_driver_measures_what_the_signer_measured) {
    const auto enclave = load();
    EXPECT_EQ(driver_.enclave().einit_result(), EinitResult::success);
    EXPECT_EQ(driver_.enclave().mrenclave(), sigstruct_.enclavehash);
    EXPECT_EQ(enclave->identity().mrenclave, sigstruct_.enclavehash);
    EXPECT_EQ(enclave->identity().mrsigner, driver_.enclave().mrsigner());
    EXPECT_EQ(enclave->identity().attributes.flags, kAttributeInit | kAttributeMode64);
    EXPECT_EQ(enclave->protection(), "SGX: the CPU keeps the enclave's memory from this host");
}

TEST_F(DeviceTest, a_cpu_that_has_the_state_of_avx_512_gives_it) {
    EXPECT_EQ(load()->identity().attributes.xfrm, 0x7u);
    driver_.machine.xfrm = 0xe7;
    const auto enclave = load();
    EXPECT_EQ(driver_.enclave().einit_result(), EinitResult::success);
    EXPECT_EQ(enclave->identity().attributes.xfrm, 0xe7u);
    EXPECT_EQ(driver_.enclave().mrenclave(), sigstruct_.enclavehash) << "the same enclave";
}

TEST_F(DeviceTest, signals_while_pages_are_added_change_nothing) {
    driver_.machine.pages_between_signals = 3;
    const auto enclave = load();
    EXPECT_EQ(driver_.enclave().mrenclave(), sigstruct_.enclavehash);
}

TEST_F(DeviceTest, a_debug_enclave_says_so) {
    sign({.debug = true});
    EXPECT_NE(load()->protection().find("DEBUG"), std::string_view::npos);
}

TEST_F(DeviceTest, messages_make_the_round_trip_through_ocalls) {
    const auto enclave = load();
    Host host{*enclave};
    host.to_receive = {{1, 2, 3}, std::vector<std::uint8_t>(60000, 0x5a), {}};
    const auto messages = std::vector(host.to_receive.begin(), host.to_receive.end());
    EXPECT_EQ(host.run(TestCommand::echo).value(), EnclaveResult::stopped);
    EXPECT_EQ(host.sent, messages);
}

TEST_F(DeviceTest, the_runtime_works_and_the_host_keeps_its_registers) {
    const auto enclave = load();
    Host host{*enclave};
    // Across every call, which leaves MXCSR, the x87 word, the direction flag and r12 to r15 as
    // badly as an enclave may.
    const double third = 1.0 / static_cast<double>(enclave->identity().isv_prod_id + 2);
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(host.run(TestCommand::self_test).value(), EnclaveResult::ok);
        EXPECT_EQ(host.run(TestCommand::mark_registers).value(), EnclaveResult::ok);
    }
    std::uint32_t mxcsr = 0;
    std::uint16_t control = 0;
    __asm__ volatile("stmxcsr %0\n fnstcw %1" : "=m"(mxcsr), "=m"(control));
    EXPECT_EQ(mxcsr & 0xffc0, 0x1f80u);
    EXPECT_EQ(control, 0x37f);
    EXPECT_EQ(third, 1.0 / 3.0);
}

TEST_F(DeviceTest, reports_verify_on_this_machine_and_are_the_drivers_measurement) {
    const auto enclave = load();
    Host host{*enclave};
    TargetInfo target{};
    target.measurement = {9, 9, 9};
    const Bytes bytes = bytes_of(target);
    host.to_receive.emplace_back(bytes.begin(), bytes.end());
    ASSERT_EQ(host.run(TestCommand::report).value(), EnclaveResult::ok);
    const auto report = Reader{host.sent.at(0)}.take<Report>().value();
    EXPECT_TRUE(driver_.platform().verify_report(report, target));
    EXPECT_EQ(report.body.mrenclave, driver_.enclave().mrenclave());
    EXPECT_EQ(report.body.mrsigner, mrsigner(sigstruct_));
}

TEST_F(DeviceTest, interrupts_inside_the_enclave_are_resumed_and_change_nothing) {
    const auto enclave = load();
    Host host{*enclave};
    // The handler is there from the first entry on.
    ASSERT_EQ(host.run(TestCommand::nothing).value(), EnclaveResult::ok);
    std::atomic<bool> done{false};
    const pthread_t inside = ::pthread_self();
    const std::uint64_t before = testing::interrupts_taken();
    std::thread clock{[&] {
        while (!done) {
            ::pthread_kill(inside, SIGUSR1);
            std::this_thread::yield();
        }
    }};
    int runs = 0;
    while (testing::interrupts_taken() < before + 200 && runs++ < 20'000)
        EXPECT_EQ(host.run(TestCommand::self_test).value(), EnclaveResult::ok);
    done = true;
    clock.join();
    EXPECT_GE(testing::interrupts_taken(), before + 200);
}

TEST_F(DeviceTest, a_fault_inside_comes_back_as_an_exception_and_ends_the_enclave) {
    for (const auto command :
         {TestCommand::null_pointer, TestCommand::write_code, TestCommand::exhaust_stack}) {
        const auto enclave = load();
        Host host{*enclave};
        const auto result = host.run(command);
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::fault);
        EXPECT_EQ(result.error().signal, SIGSEGV);
        EXPECT_EQ(result.error().vector, 14);
        EXPECT_EQ(result.error().data_offset == EnclaveLoss::kNoOffset,
                  command == TestCommand::null_pointer)
            << text(result.error());
        const auto again = host.run(TestCommand::nothing);
        ASSERT_FALSE(again.has_value());
        EXPECT_EQ(again.error().cause, EnclaveLoss::Cause::not_loaded);
    }
}

TEST_F(DeviceTest, an_exhausted_heap_is_told_by_the_enclave_itself) {
    const auto enclave = load();
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::exhaust_heap).value(), EnclaveResult::out_of_memory);
}

class GrowingHeap : public DeviceTest {
  protected:
    GrowingHeap() {
        options_.heap_max = std::uint64_t{16} << 20;
        sign({});
    }
    void expect_fixed(std::string_view reason) {
        const auto enclave = load();
        EXPECT_EQ(enclave->features(), 0u);
        EXPECT_NE(enclave->protection().find(reason), std::string::npos) << enclave->protection();
        Host host{*enclave};
        EXPECT_EQ(host.run(TestCommand::grow_heap).value(), EnclaveResult::out_of_memory);
    }
};

TEST_F(GrowingHeap, grows_page_by_page_where_the_driver_offers_sgx2) {
    const auto enclave = load();
    EXPECT_NE(enclave->protection().find("can grow from 4 to 16 MiB"), std::string::npos);
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::grow_heap).value(), EnclaveResult::ok);
    EXPECT_EQ(host.run(TestCommand::accept_again).value(), EnclaveResult::ok);
    EXPECT_EQ(host.run(TestCommand::exhaust_heap).value(), EnclaveResult::out_of_memory)
        << "heap_max is where it ends";
}

TEST_F(GrowingHeap, is_measured_so_the_driver_agrees_with_the_signer) {
    static_cast<void>(load());
    EXPECT_EQ(driver_.enclave().mrenclave(), sigstruct_.enclavehash);
}

TEST_F(GrowingHeap, stays_as_it_is_without_sgx2_and_the_operator_reads_why) {
    driver_.machine.sgx2 = false;
    expect_fixed("this CPU has no SGX2");
    driver_.machine.sgx2 = true;
    driver_.machine.kernel_has_sgx2 = false;
    expect_fixed("Linux 6.0");
}

TEST_F(GrowingHeap, of_a_host_that_promises_pages_and_adds_none_ends_with_a_fault_and_never_hangs) {
    driver_.machine.sgx2 = false;
    const auto enclave = load();
    Host host{*enclave};
    host.features = wire::kStartHeapGrows;
    const auto result = host.run(TestCommand::grow_heap);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::fault);
    EXPECT_EQ(result.error().vector, 14);
    const EnclaveLayout layout = EnclaveImage::build(elf_)->layout();
    EXPECT_EQ(result.error().data_offset, layout.heap_offset + layout.heap_size);
}

TEST_F(GrowingHeap, when_enclave_memory_ends_is_a_fault_that_is_told) {
    const auto enclave = load();
    Host host{*enclave};
    ASSERT_EQ(host.run(TestCommand::nothing).value(), EnclaveResult::ok);
    driver_.machine.epc_pages = EnclaveImage::build(elf_)->page_count() + 100;
    const auto result = host.run(TestCommand::grow_heap);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::fault);
}

TEST_F(DeviceTest, kill_brings_a_thread_out_that_loops_inside) {
    const auto enclave = load();
    Host host{*enclave};
    std::thread killer{[&] { enclave->kill(); }};
    const auto result = host.run(TestCommand::loop);
    killer.join();
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::killed);
}

TEST_F(DeviceTest, memory_lost_while_outside_is_told_and_loading_anew_recovers) {
    auto enclave = load();
    {
        Host host{*enclave};
        host.in_ocall = [this] { driver_.sleep(); };
        const auto result = host.run(TestCommand::mark_registers);
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::memory_lost);
        EXPECT_NE(text(result.error()).find("loaded anew"), std::string::npos);
    }
    enclave.reset();
    enclave = load();
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::self_test).value(), EnclaveResult::ok);
}

TEST_F(DeviceTest, memory_lost_under_a_running_thread_is_told) {
    const auto enclave = load();
    Host host{*enclave};
    std::thread power{[&] { driver_.sleep(); }};
    const auto result = host.run(TestCommand::loop);
    power.join();
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::memory_lost);
}

TEST_F(DeviceTest, four_threads_are_inside_at_a_time_each_on_its_own_tcs_and_a_fifth_waits) {
    options_.thread_count = 4;
    sign({});
    const auto enclave = load();
    constexpr std::size_t kCallers = 5;
    std::vector<std::unique_ptr<Host>> hosts;
    for (std::size_t i = 0; i < kCallers; ++i) {
        hosts.push_back(std::make_unique<Host>(*enclave));
        for (std::size_t message = 0; message < 50; ++message)
            hosts[i]->to_receive.push_back(
                std::vector<std::uint8_t>(message * 50, static_cast<std::uint8_t>(i)));
    }
    const auto expected = [&](std::size_t i) {
        return std::vector(hosts[i]->to_receive.begin(), hosts[i]->to_receive.end());
    };
    std::vector<std::vector<std::vector<std::uint8_t>>> messages;
    for (std::size_t i = 0; i < kCallers; ++i)
        messages.push_back(expected(i));
    // The first four meet in their first OCALL: nobody leaves before all are inside.
    std::barrier all_inside{4};
    std::vector<std::thread> callers;
    for (std::size_t i = 0; i < kCallers; ++i) {
        callers.emplace_back([&, i] {
            if (i < 4)
                hosts[i]->in_ocall = [&, met = false]() mutable {
                    if (!std::exchange(met, true)) all_inside.arrive_and_wait();
                };
            if (i == 4) hosts[0]->was_inside.wait(false);
            auto result = hosts[i]->run(TestCommand::echo);
            // Whoever meets the first thread on its very first steps is told to come again.
            while (result && *result == EnclaveResult::already_running)
                result = hosts[i]->run(TestCommand::echo);
            EXPECT_EQ(result.value(), EnclaveResult::stopped);
        });
    }
    for (std::thread& caller : callers)
        caller.join();
    for (std::size_t i = 0; i < kCallers; ++i)
        EXPECT_EQ(hosts[i]->sent, messages[i]);
}

TEST_F(DeviceTest, changed_files_are_refused_with_the_field_named) {
    sigstruct_.q1[7] ^= 1;
    store();
    expect_refusal("SIGSTRUCT.Q1");
    sign({});
    sign({.isv_svn = 2});
    elf_[EnclaveImage::build(elf_)->layout().image_end / 2] ^= 1;
    store();
    expect_refusal("ENCLAVEHASH");
}

TEST_F(DeviceTest, every_refusal_of_the_kernel_is_a_sentence_that_says_what_to_do) {
    const auto with = [&](auto break_it, std::string_view words) {
        const testing::Machine sound = driver_.machine;
        break_it(driver_.machine);
        expect_refusal(words);
        driver_.machine = sound;
    };
    using testing::Machine;
    with([](Machine& m) { m.enclave_node = -ENOENT; }, "sgmonitor host doctor");
    with([](Machine& m) { m.enclave_node = -EACCES; }, "add this user to the group");
    with([](Machine& m) { m.enclave_node = -EPERM; }, "container");
    with([](Machine& m) { m.enclave_node = -ENODEV; }, "Flexible Launch Control");
    with([](Machine& m) { m.has_vdso_function = false; }, "Linux 5.11 or later");
    with([](Machine& m) { m.xfrm = 3; }, "extended state (XFRM)");
    with([](Machine& m) { m.epc_pages = 0; }, "end other enclaves");
    with([](Machine& m) { m.epc_pages = 100; }, "smaller heap");
    with([](Machine& m) { m.sources_are_noexec = true; }, "noexec");
    with([](Machine& m) { m.dev_is_noexec = true; }, "remount,exec /dev");
    with([](Machine& m) { m.flexible_launch_control = false; }, "launch key is locked");
    Sigstruct fields = sigstruct_;
    fields.attributes.flags |= kAttributeProvisionKey;
    sign_fields(fields);
    with([](Machine& m) { m.provision_node = -EACCES; }, "sgx_prv");
    with([](Machine& m) { m.provision_node = -ENOENT; }, "sign this one without it");
    EXPECT_EQ(load()->identity().attributes.flags & kAttributeProvisionKey, kAttributeProvisionKey);
}

TEST_F(DeviceTest, nothing_is_left_open_when_it_is_over) {
    load().reset();
    EXPECT_EQ(driver_.open_enclaves(), 0u);
}

}  // namespace
}  // namespace sgm::sgx::device
