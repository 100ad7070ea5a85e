// SPDX-License-Identifier: MIT
// Between the parts of the runtime; not for the program.
#pragma once

#include "sgx/enclave/untrusted.hpp"

namespace sgm::enclave {

inline constexpr std::uint64_t kMaxOcallBuffer = std::uint64_t{64} << 20;

// Where the enclave begins.
[[nodiscard]] std::uint64_t base();

void adopt_heap();
// The host says that pages can be added where the heap has room to grow.
void let_heap_grow();

// Of the thread that asks: 0 to layout().thread_count - 1.
[[nodiscard]] std::size_t thread_index();

// For this thread's OCALLs.
void use_for_ocalls(const Outside& frame, const Outside& buffer);

}  // namespace sgm::enclave
