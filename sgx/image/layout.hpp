// SPDX-License-Identifier: MIT
// How an enclave is laid out in its address range. The signer writes this record into the image
// (section .sgm_layout, measured); the loader builds its pages after it, and the runtime learns
// from it where its heap and stack are. All offsets count from the enclave's base.
//
//     0             image: the ELF's segments at their own addresses
//     (guard)
//     heap          added, not measured: what it holds at the start is the host's, so uninitialised
//     room to grow  up to heap_max: no pages, until the enclave accepts them one by one (SGX2)
//     (guard)
//     then for each thread:
//       stack         added, not measured
//       (guard)
//       TCS           the stack's top lies one page below it, which is how entry.S finds it
//       SSA           kSsaFrames frames of one page
//       thread page   FS and GS point here
//       (guard)
//     (nothing, up to a power of two)
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "sgx/image/arch.hpp"

namespace sgm::sgx {

inline constexpr std::uint64_t kLayoutMagic = 0x3259414c'4d475353;  // "SSGMLAY2"
inline constexpr std::uint32_t kSsaFrames = 2;
// One page holds GPRSGX and the XSAVE area of x87, SSE, AVX and AVX-512 (2.9 KB).
inline constexpr std::uint32_t kSsaFramePages = 1;
inline constexpr std::uint64_t kMaxImageSize = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kMinHeapSize = kPageSize;
inline constexpr std::uint64_t kMaxHeapSize = std::uint64_t{4} << 30;
inline constexpr std::uint64_t kMinStackSize = 4 * kPageSize;
inline constexpr std::uint64_t kMaxStackSize = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kMaxThreads = 64;
// In the thread page, where only the CPU of software SGX looks: its own record of the thread. Zero
// on a CPU with SGX, which has a TCS for that.
inline constexpr std::uint64_t kSoftThreadOffset = 0xff8;

struct EnclaveLayout {
    std::uint64_t magic;          // 0
    std::uint64_t elrange_size;   // 8    a power of two
    std::uint64_t heap_offset;    // 16
    std::uint64_t heap_size;      // 24   bytes, whole pages
    std::uint64_t stack_offset;   // 32   of the first thread, as all below; its lowest byte
    std::uint64_t stack_size;     // 40   bytes, whole pages
    std::uint64_t stack_top;      // 48   stack_offset + stack_size
    std::uint64_t tcs_offset;     // 56
    std::uint64_t ssa_offset;     // 64
    std::uint64_t thread_offset;  // 72
    std::uint64_t image_end;      // 80
    std::uint64_t thread_count;   // 88   1..kMaxThreads
    std::uint64_t heap_max;       // 96   bytes, whole pages: heap_size, and the room to grow

    bool operator==(const EnclaveLayout&) const = default;

    // From one thread's stack, TCS, ... to the next one's.
    [[nodiscard]] constexpr std::uint64_t thread_stride() const {
        return thread_offset + 2 * kPageSize - stack_offset;
    }

    // The one layout for these sizes; nullopt when a size is out of range or not whole pages.
    [[nodiscard]] static constexpr std::optional<EnclaveLayout> plan(std::uint64_t image_end,
                                                                     std::uint64_t heap_size,
                                                                     std::uint64_t heap_max,
                                                                     std::uint64_t stack_size,
                                                                     std::uint64_t thread_count) {
        const auto pages = [](std::uint64_t size, std::uint64_t least, std::uint64_t most) {
            return size % kPageSize == 0 && size >= least && size <= most;
        };
        if (!pages(image_end, kPageSize, kMaxImageSize) ||
            !pages(heap_size, kMinHeapSize, kMaxHeapSize) ||
            !pages(heap_max, heap_size, kMaxHeapSize) ||
            !pages(stack_size, kMinStackSize, kMaxStackSize) || thread_count == 0 ||
            thread_count > kMaxThreads)
            return std::nullopt;
        EnclaveLayout layout{};
        layout.magic = kLayoutMagic;
        layout.image_end = image_end;
        layout.heap_offset = image_end + kPageSize;
        layout.heap_size = heap_size;
        layout.heap_max = heap_max;
        layout.stack_offset = layout.heap_offset + heap_max + kPageSize;
        layout.stack_size = stack_size;
        layout.stack_top = layout.stack_offset + stack_size;
        layout.tcs_offset = layout.stack_top + kPageSize;
        layout.ssa_offset = layout.tcs_offset + kPageSize;
        layout.thread_offset = layout.ssa_offset + kSsaFrames * kSsaFramePages * kPageSize;
        layout.thread_count = thread_count;
        layout.elrange_size =
            std::bit_ceil(layout.stack_offset + thread_count * layout.thread_stride());
        return layout;
    }
};
static_assert(sizeof(EnclaveLayout) == 104);

}  // namespace sgm::sgx
