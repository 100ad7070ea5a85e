// SPDX-License-Identifier: MIT
// The enclave's door, seen from a host that does not keep to the rules: the enclave is loaded into
// this very process, entered in any state, and every register is looked at when it comes out.
#include "sgx/loader/soft/cpu.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>

#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/soft/test_enclave.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/ring.hpp"

extern "C" {
// cpu_test_entry.S
struct Left {
    std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    std::array<std::uint64_t, 8> r8_to_r15;
    std::array<std::uint8_t, 16 * 32> ymm;
};
struct LeftWide {
    std::array<std::uint8_t, 32 * 64> zmm;
    std::array<std::uint64_t, 8> masks;
};
struct HostRegisters {
    std::uint64_t rsp, rbp, return_address;
};
extern Left sgm_test_left;
extern LeftWide sgm_test_left_wide;
extern std::uint64_t sgm_test_wide;
extern HostRegisters sgm_test_host;
extern std::uint64_t sgm_test_flags;
extern std::uint64_t sgm_test_mxcsr;
void sgm_test_enter(std::uint64_t number, std::uint64_t argument, std::uint64_t entry,
                    std::uint64_t thread_page, std::uint64_t tcs, std::uint64_t cssa);
}

namespace sgm::sgx::soft {
namespace {

using wire::EcallNumber;
using wire::EnclaveResult;
using wire::ExitReason;

constexpr auto kRun = static_cast<std::uint64_t>(EcallNumber::run);

// Page-aligned memory outside the enclave.
struct Untrusted {
    alignas(4096) std::array<std::uint8_t, wire::kRingSize> ring;
    alignas(4096) wire::StartInfo start;
    wire::OcallFrame frame;
    std::array<std::uint8_t, wire::kMinOcallBuffer> buffer;
};

class DoorTest : public testing::Test {
  protected:
    DoorTest() {
        std::ifstream file{SGM_TEST_ENCLAVE, std::ios::binary};
        const std::vector<std::uint8_t> linked{std::istreambuf_iterator<char>{file}, {}};
        const auto elf =
            prepare_image(
                linked,
                {.heap_size = 1 << 20, .stack_size = 1 << 17, .thread_count = 2, .label = ""})
                .value();
        static const SignerKey signer = SignerKey::generate().value();
        const Sigstruct sigstruct =
            sign_sigstruct(describe_enclave(EnclaveImage::build(elf)->measure(), {}), signer)
                .value();
        cpu_ = Cpu::load(elf, bytes_of(sigstruct), FuseKey{Key128{1}}).value();
        sgm_test_wide = cpu_->secs().attributes.xfrm & kXfrmAvx512;
    }

    [[nodiscard]] std::uint64_t start(TestCommand command) {
        untrusted_->start = {};
        untrusted_->start.ring = reinterpret_cast<std::uint64_t>(&untrusted_->ring);
        untrusted_->start.ocall_frame = reinterpret_cast<std::uint64_t>(&untrusted_->frame);
        untrusted_->start.buffer = reinterpret_cast<std::uint64_t>(&untrusted_->buffer);
        untrusted_->start.buffer_size = untrusted_->buffer.size();
        untrusted_->start.domain[0] = static_cast<std::uint8_t>(command);
        untrusted_->start.domain[1] = sgm_test_wide != 0 ? 1 : 0;
        return reinterpret_cast<std::uint64_t>(&untrusted_->start);
    }

    void enter(std::uint64_t number, std::uint64_t argument, std::uint64_t cssa = 0,
               std::uint64_t thread = 0) {
        const std::uint64_t shift = cpu_->base() + thread * cpu_->layout().thread_stride();
        sgm_test_enter(number, argument, cpu_->entry(), shift + cpu_->layout().thread_offset,
                       shift + cpu_->layout().tcs_offset, cssa);
    }
    static void expect_exit(ExitReason reason, std::uint64_t rsi) {
        EXPECT_EQ(sgm_test_left.rdi, static_cast<std::uint64_t>(reason));
        EXPECT_EQ(sgm_test_left.rsi, rsi);
    }
    static void expect_done(EnclaveResult result) {
        expect_exit(ExitReason::ecall_done, static_cast<std::uint64_t>(result));
    }
    static void expect_ocall(wire::OcallNumber number) {
        expect_exit(ExitReason::ocall, static_cast<std::uint64_t>(number));
    }
    // Everything but the three registers that carry values is what the host knows already.
    static void expect_scrubbed() {
        EXPECT_EQ(sgm_test_left.rax, static_cast<std::uint64_t>(Enclu::eexit));
        EXPECT_EQ(sgm_test_left.rbx, sgm_test_host.return_address);
        EXPECT_EQ(sgm_test_left.rcx, 0u);
        EXPECT_EQ(sgm_test_left.rsp, sgm_test_host.rsp);
        EXPECT_EQ(sgm_test_left.rbp, sgm_test_host.rbp);
        EXPECT_EQ(sgm_test_left.r8_to_r15, (std::array<std::uint64_t, 8>{}));
        EXPECT_EQ(sgm_test_left.ymm, (std::array<std::uint8_t, 512>{}));
        EXPECT_EQ(sgm_test_left_wide.zmm, (std::array<std::uint8_t, 2048>{}));
        EXPECT_EQ(sgm_test_left_wide.masks, (std::array<std::uint64_t, 8>{}));
        EXPECT_EQ(sgm_test_flags & 0x400, 0u) << "DF is set";
        EXPECT_EQ(sgm_test_mxcsr & 0xffff, 0x1f80u);
    }

    std::unique_ptr<Cpu> cpu_;
    std::unique_ptr<Untrusted> untrusted_ = std::make_unique<Untrusted>();
};

TEST_F(DoorTest, no_register_carries_a_secret_out) {
    enter(kRun, start(TestCommand::mark_registers));
    expect_ocall(wire::OcallNumber::wait);
    EXPECT_EQ(sgm_test_left.rdx, reinterpret_cast<std::uint64_t>(&untrusted_->frame));
    expect_scrubbed();
    enter(wire::kReturnFromOcall, ~std::uint64_t{0});
    expect_done(EnclaveResult::ok);
    EXPECT_EQ(sgm_test_left.rdx, 0u);
    expect_scrubbed();
}

TEST_F(DoorTest, hostile_flags_and_mxcsr_do_not_reach_the_program) {
    // Fails by a wrong memmove (DF), SIGBUS (AC) or SIGFPE (MXCSR) if they do.
    enter(kRun, start(TestCommand::self_test));
    expect_done(EnclaveResult::ok);
    expect_scrubbed();
}

TEST_F(DoorTest, a_hostile_float_state_does_not_reach_the_program) {
    enter(kRun, start(TestCommand::check_float_state));
    expect_done(EnclaveResult::ok);
    expect_scrubbed();
}

TEST_F(DoorTest, a_second_call_during_an_ocall_is_refused_and_disturbs_nothing) {
    enter(kRun, start(TestCommand::mark_registers));
    expect_ocall(wire::OcallNumber::wait);
    enter(kRun, start(TestCommand::nothing));
    expect_done(EnclaveResult::already_running);
    expect_scrubbed();
    enter(wire::kReturnFromOcall, 0);
    expect_done(EnclaveResult::ok);
}

TEST_F(DoorTest, returning_from_an_ocall_that_never_was_is_refused) {
    enter(wire::kReturnFromOcall, 0);
    expect_done(EnclaveResult::bad_argument);
    expect_scrubbed();
    enter(kRun, start(TestCommand::nothing));
    expect_done(EnclaveResult::ok);
    enter(wire::kReturnFromOcall, 0);
    expect_done(EnclaveResult::bad_argument);
}

TEST_F(DoorTest, entering_after_an_exception_gives_nothing_but_the_reason) {
    for (const std::uint64_t number : {kRun, wire::kReturnFromOcall, std::uint64_t{7}}) {
        enter(number, start(TestCommand::nothing), 1);
        expect_exit(ExitReason::abort, static_cast<std::uint64_t>(EnclaveResult::exception));
        expect_scrubbed();
    }
}

TEST_F(DoorTest, unknown_calls_are_refused) {
    for (const std::uint64_t number :
         {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{1} << 32, ~std::uint64_t{0} - 1}) {
        enter(number, start(TestCommand::nothing));
        expect_done(EnclaveResult::bad_argument);
    }
}

TEST_F(DoorTest, after_an_abort_nobody_comes_in_again) {
    enter(kRun, start(TestCommand::exhaust_heap));
    expect_exit(ExitReason::abort, static_cast<std::uint64_t>(EnclaveResult::out_of_memory));
    expect_scrubbed();
    enter(kRun, start(TestCommand::nothing));
    expect_done(EnclaveResult::already_running);
    enter(wire::kReturnFromOcall, 0);
    expect_done(EnclaveResult::bad_argument);
}

TEST_F(DoorTest, threads_come_and_go_without_disturbing_one_another) {
    enter(kRun, start(TestCommand::mark_registers), 0, 0);
    expect_ocall(wire::OcallNumber::wait);
    enter(kRun, start(TestCommand::mark_registers), 0, 1);
    expect_ocall(wire::OcallNumber::wait);
    expect_scrubbed();
    enter(wire::kReturnFromOcall, 0, 0, 0);
    expect_done(EnclaveResult::ok);
    enter(wire::kReturnFromOcall, 0, 0, 0);
    expect_done(EnclaveResult::bad_argument);
    enter(wire::kReturnFromOcall, 0, 0, 1);
    expect_done(EnclaveResult::ok);
    expect_scrubbed();
}

TEST_F(DoorTest, when_one_thread_has_left_for_good_no_other_goes_on) {
    enter(kRun, start(TestCommand::mark_registers), 0, 0);
    expect_ocall(wire::OcallNumber::wait);
    enter(kRun, start(TestCommand::exhaust_heap), 0, 1);
    expect_exit(ExitReason::abort, static_cast<std::uint64_t>(EnclaveResult::out_of_memory));
    enter(wire::kReturnFromOcall, 0, 0, 0);
    expect_done(EnclaveResult::bad_argument);
    expect_scrubbed();
}

TEST_F(DoorTest, pointers_into_the_enclave_are_refused) {
    const std::uint64_t base = cpu_->base();
    const std::uint64_t end = base + cpu_->size();
    for (const std::uint64_t argument :
         {base, base + cpu_->layout().heap_offset, end - 8, base - 8, base - 560}) {
        enter(kRun, argument);
        expect_done(EnclaveResult::bad_argument);
    }
    const auto expect_refused = [&](std::uint64_t wire::StartInfo::* field, std::uint64_t value) {
        const std::uint64_t argument = start(TestCommand::nothing);
        untrusted_->start.*field = value;
        enter(kRun, argument);
        expect_done(EnclaveResult::bad_argument);
    };
    for (auto field :
         {&wire::StartInfo::ring, &wire::StartInfo::ocall_frame, &wire::StartInfo::buffer}) {
        expect_refused(field, base);
        expect_refused(field, end - 4096);
        expect_refused(field, base + cpu_->layout().thread_offset);
    }
    expect_refused(&wire::StartInfo::ring, base - 4096);
    expect_refused(&wire::StartInfo::buffer, base - 16);
    expect_refused(&wire::StartInfo::ocall_frame, base - 8);
    // Up to the first byte of the enclave, and one further.
    const std::uint64_t argument = start(TestCommand::nothing);
    untrusted_->start.buffer = base - wire::kMinOcallBuffer;
    enter(kRun, argument);
    expect_done(EnclaveResult::ok);
    untrusted_->start.buffer_size = wire::kMinOcallBuffer + 1;
    enter(kRun, argument);
    expect_done(EnclaveResult::bad_argument);
}

}  // namespace
}  // namespace sgm::sgx::soft
