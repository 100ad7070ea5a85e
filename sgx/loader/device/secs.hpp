// SPDX-License-Identifier: MIT
// What the driver copies to the CPU besides pages: Intel SDM vol. 3D, chapter 38.
#pragma once

#include "sgx/image/arch.hpp"

namespace sgm::sgx::device {

// SECS, 38.7, as ECREATE takes it: what EINIT fills in is zero.
struct Secs {
    std::uint64_t size;           // 0    bytes, a power of two
    std::uint64_t baseaddr;       // 8    naturally aligned
    std::uint32_t ssaframesize;   // 16   pages
    std::uint32_t miscselect;     // 20
    Reserved<24> reserved_24;     // 24
    Attributes attributes;        // 48
    Reserved<4032> filled_later;  // 64   MRENCLAVE, MRSIGNER and what ECREATE wants as zero
};
static_assert(sizeof(Secs) == kPageSize);
static_assert(offsetof(Secs, attributes) == 48);

}  // namespace sgm::sgx::device
