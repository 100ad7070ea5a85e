// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sgm::sgx::device::testing {

class FakeEnclave;

// What a CPU keeps of one TCS, and of the thread that is in it. fake_vdso.S knows the offsets.
struct FakeThread {
    std::uint64_t gs;         // 0    thread page; also how a thread inside is known
    std::uint64_t fs;         // 8
    std::uint64_t entry;      // 16
    std::uint64_t cssa;       // 24
    std::uint64_t busy;       // 32
    std::uint64_t aep;        // 40
    std::uint64_t outer_fs;   // 48
    std::uint64_t outer_gs;   // 56
    std::uint64_t outer_rsp;  // 64
    std::uint64_t outer_rbp;  // 72
    std::uint64_t ssa;        // 80   the frame to resume from, in the CPU's own mapping
    std::uint64_t gpr;        // 88   its GPRSGX
    std::array<std::uint64_t, 5> iret_frame;  // 96   rip, cs, rflags, rsp, ss
    std::uint64_t fault_vector;               // 136  of ENCLU itself; 0: it went well
    std::uint64_t fault_error;                // 144
    std::uint64_t fault_address;              // 152
    std::uint64_t tcs;                        // 160
    std::uint64_t nssa;                       // 168
    std::uint64_t first_ssa;                  // 176  in the CPU's own mapping
    FakeEnclave* enclave;                     // 184
};
static_assert(sizeof(FakeThread) == 192);
static_assert(offsetof(FakeThread, outer_rsp) == 64);
static_assert(offsetof(FakeThread, iret_frame) == 96);
static_assert(offsetof(FakeThread, fault_vector) == 136);

inline constexpr std::size_t kMaxFakeThreads = 16;

}  // namespace sgm::sgx::device::testing

extern "C" {
extern std::array<sgm::sgx::device::testing::FakeThread, sgm::sgx::device::testing::kMaxFakeThreads>
    sgm_fake_threads;
}
