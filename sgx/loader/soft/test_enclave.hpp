// SPDX-License-Identifier: MIT
// Between the tests and their enclave.
#pragma once

#include <cstdint>

namespace sgm::sgx::soft {

enum class TestCommand : std::uint8_t {
    nothing,
    echo,         // messages from the owner go back to the owner, until the host says stop
    report,       // owner sends a TARGETINFO, gets the REPORT
    seal_key,     // owner sends a policy (u16), gets the key
    self_test,    // of the runtime
    judge_range,  // owner sends TestRange: ok when it lies outside, else bad_argument
    send_config,  // the measured configuration page goes to the owner
    system_call,  // and from here on what an enclave must not do
    time_stamp,
    null_pointer,
    write_code,
    exhaust_stack,
    exhaust_heap,
    loop,
    check_float_state,  // ok when x87 and MXCSR are as the ABI wants them at a function's start
    mark_registers,     // fills registers, AVX-512's too if the second byte says so, makes one
                        // OCALL, ends
    grow_heap,          // uses 6 MiB of heap at once: ok when all of it was zero
    accept_again,       // ok when a page that is the enclave's already is not accepted once more
    use_reserve,        // ok when the reserve of the heap is used, told, and filled up again
    say_last_words,     // exhausts the heap, and sends "no memory" to the owner as its last words
};

struct TestRange {
    std::uint64_t from_base;  // 0   added to the enclave's base, modulo 2^64
    std::uint64_t size;       // 8
};

}  // namespace sgm::sgx::soft
