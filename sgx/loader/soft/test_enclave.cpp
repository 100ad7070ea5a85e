// SPDX-License-Identifier: MIT
// The program of the tests' enclave: does what the first byte of `domain` says.
#include "sgx/loader/soft/test_enclave.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sgx/enclave/enclu.hpp"
#include "sgx/enclave/ocall.hpp"
#include "sgx/enclave/runtime.hpp"
#include "sgx/enclave/untrusted.hpp"

namespace {

using sgm::Bytes;
using sgm::MutableBytes;
using sgm::sgx::soft::TestCommand;
using sgm::wire::EnclaveResult;
using sgm::wire::Peer;

const std::array<const char*, 3> relocated = {"alpha", "beta", "gamma"};
struct Constructed {
    int value;
    Constructed() : value{static_cast<int>(std::strlen(relocated[2])) + 37} {}
};
Constructed constructed;

// What only AVX-512 has; no compiled code here touches it.
void mark_wide_registers() {
    __asm__ volatile(
        "kxnorq %%k1, %%k1, %%k1\n kxnorq %%k7, %%k7, %%k7\n"
        "vpternlogd $0xff, %%zmm0, %%zmm0, %%zmm0\n vpternlogd $0xff, %%zmm9, %%zmm9, %%zmm9\n"
        "vpternlogd $0xff, %%zmm16, %%zmm16, %%zmm16\n"
        "vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31\n" ::
            : "xmm0", "xmm9");
}

std::optional<std::vector<std::uint8_t>> message() {
    std::vector<std::uint8_t> bytes(65536);
    const auto size = sgm::enclave::receive(Peer::owner, 0, bytes);
    if (!size) return std::nullopt;
    bytes.resize(*size);
    return bytes;
}

template <sgm::WireStruct T>
std::optional<T> message_as() {
    const auto bytes = message();
    if (!bytes) return std::nullopt;
    return sgm::Reader{*bytes}.take<T>();
}

EnclaveResult answer(Bytes bytes) {
    return sgm::enclave::send(Peer::owner, bytes) ? EnclaveResult::ok : EnclaveResult::internal;
}

EnclaveResult echo() {
    for (;;) {
        const auto bytes = message();
        if (!bytes) return EnclaveResult::stopped;
        if (const auto result = answer(*bytes); result != EnclaveResult::ok) return result;
    }
}

EnclaveResult report() {
    const auto target = message_as<sgm::sgx::TargetInfo>();
    if (!target) return EnclaveResult::bad_argument;
    sgm::sgx::ReportData data;
    data.fill(0x5a);
    return answer(sgm::bytes_of(sgm::enclave::create_report(*target, data)));
}

EnclaveResult seal_key() {
    const auto policy = message_as<std::uint16_t>();
    if (!policy) return EnclaveResult::bad_argument;
    const auto self = sgm::enclave::create_report({}, {});
    std::array<std::uint8_t, 16> key{};
    if (!sgm::enclave::get_seal_key(sgm::enclave::SealTo{*policy}, self.body.isvsvn,
                                    self.body.cpusvn, {}, key))
        return EnclaveResult::internal;
    return answer(key);
}

// What the runtime promises the program: relocations, constructors, the heap, the byte functions.
EnclaveResult self_test() {
    if (constructed.value != 42) return EnclaveResult::internal;

    std::vector<int> numbers;
    for (int i = 0; i < 5000; ++i)
        numbers.push_back(i * 7919 % 5003);
    std::sort(numbers.begin(), numbers.end());
    if (!std::is_sorted(numbers.begin(), numbers.end())) return EnclaveResult::internal;

    std::string text = "pid ";
    std::array<char, 20> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), 123456789).ptr;
    text.append(digits.data(), end);
    if (text != "pid 123456789" || text.find("789") != 10) return EnclaveResult::internal;

    std::map<int, std::string> names;
    for (const char* name : relocated)
        names[static_cast<int>(std::strlen(name))] += name;
    if (names[5] != "alphagamma") return EnclaveResult::internal;

    std::array<std::uint8_t, 600> bytes;
    std::array<std::uint8_t, 600> expected;
    for (std::size_t size = 0; size < 200; ++size) {
        for (std::size_t shift = 0; shift < 70; ++shift) {
            for (const bool down : {false, true}) {
                for (std::size_t i = 0; i < bytes.size(); ++i)
                    bytes[i] = expected[i] = static_cast<std::uint8_t>(i * 31);
                const std::size_t from = down ? 100 + shift : 100;
                const std::size_t to = down ? 100 : 100 + shift;
                for (std::size_t i = 0; i < size; ++i)
                    expected[to + i] = static_cast<std::uint8_t>((from + i) * 31);
                std::memmove(bytes.data() + to, bytes.data() + from, size);
                if (std::memcmp(bytes.data(), expected.data(), bytes.size()) != 0)
                    return EnclaveResult::internal;
            }
        }
        bytes.fill(1);
        std::memset(bytes.data() + 3, 9, size);
        if (std::count(bytes.begin(), bytes.end(), 9) != static_cast<std::ptrdiff_t>(size))
            return EnclaveResult::internal;
        std::memcpy(expected.data(), bytes.data(), size + 7);
        if (std::memcmp(bytes.data(), expected.data(), size + 7) != 0)
            return EnclaveResult::internal;
    }
    return EnclaveResult::ok;
}

EnclaveResult judge_range() {
    const auto range = message_as<sgm::sgx::soft::TestRange>();
    if (!range) return EnclaveResult::bad_argument;
    const auto base = reinterpret_cast<std::uint64_t>(&sgm::enclave::layout()) &
                      ~(sgm::enclave::layout().elrange_size - 1);
    return sgm::enclave::wholly_outside(base + range->from_base, range->size)
               ? EnclaveResult::ok
               : EnclaveResult::bad_argument;
}

// Instructions that the build refuses, hidden from it in the middle of another one (mov $imm32).
void system_call() {
    __asm__ volatile(
        "movl $39, %%eax\n"
        "call 1f\n"
        "jmp 2f\n"
        ".byte 0xb9\n"
        "1: .byte 0x0f, 0x05, 0xc3, 0x90\n"  // syscall; ret
        "2:\n"
        :
        :
        : "rax", "rcx", "r11", "memory");
}

void time_stamp() {
    __asm__ volatile(
        "call 1f\n"
        "jmp 2f\n"
        ".byte 0xb9\n"
        "1: .byte 0x0f, 0x31, 0xc3, 0x90\n"  // rdtsc; ret
        "2:\n"
        :
        :
        : "rax", "rdx", "rcx", "memory");
}

std::uint64_t recurse(std::uint64_t depth) {
    volatile std::uint8_t frame[1024];
    frame[depth % sizeof frame] = 1;
    return depth == 0 ? 0 : recurse(depth - 1) + frame[0];
}

EnclaveResult grow_heap() {
    const std::vector<std::uint8_t> large(std::size_t{6} << 20);
    return std::count(large.begin(), large.end(), 0) == static_cast<std::ptrdiff_t>(large.size())
               ? EnclaveResult::ok
               : EnclaveResult::internal;
}

EnclaveResult accept_again() {
    const std::vector<std::uint8_t> large(std::size_t{6} << 20);
    const std::uint8_t* page =
        large.data() + (sgm::sgx::kPageSize -
                        reinterpret_cast<std::uintptr_t>(large.data()) % sgm::sgx::kPageSize);
    for (std::size_t offset = 0; offset < std::size_t{5} << 20; offset += std::size_t{1} << 20)
        if (sgm::enclave::accept_page(page + offset)) return EnclaveResult::internal;
    return EnclaveResult::ok;
}

EnclaveResult use_reserve() {
    if (sgm::enclave::memory_is_short()) return EnclaveResult::internal;
    std::vector<std::vector<std::uint8_t>> hoard;
    hoard.reserve(4096);
    while (!sgm::enclave::memory_is_short())
        hoard.emplace_back(std::size_t{16} << 10);
    // There is room yet, for as long as the reserve lasts.
    hoard.emplace_back(std::size_t{16} << 10);
    if (!sgm::enclave::memory_is_short()) return EnclaveResult::internal;
    hoard.clear();
    return sgm::enclave::memory_is_short() ? EnclaveResult::internal : EnclaveResult::ok;
}

void say_no_memory(void* argument) {
    const std::vector<std::uint8_t> needs_heap(std::size_t{32} << 10);
    static_cast<void>(answer(*static_cast<const Bytes*>(argument)));
}

}  // namespace

EnclaveResult sgm::enclave_main(const wire::StartInfo& start) {
    switch (TestCommand{start.domain[0]}) {
        case TestCommand::nothing: return EnclaveResult::ok;
        case TestCommand::echo: return echo();
        case TestCommand::report: return report();
        case TestCommand::seal_key: return seal_key();
        case TestCommand::self_test: return self_test();
        case TestCommand::judge_range: return judge_range();
        case TestCommand::send_config: return answer(bytes_of(enclave::measured_config()));
        case TestCommand::system_call: system_call(); return EnclaveResult::ok;
        case TestCommand::time_stamp: time_stamp(); return EnclaveResult::ok;
        case TestCommand::null_pointer: {
            volatile std::uint8_t* nowhere = nullptr;
            __asm__ volatile("" : "+r"(nowhere));
            *nowhere = 1;
            return EnclaveResult::ok;
        }
        case TestCommand::write_code: {
            auto* code = reinterpret_cast<volatile std::uint8_t*>(&enclave_main);
            *code = 0xcc;
            return EnclaveResult::ok;
        }
        case TestCommand::exhaust_stack:
            return recurse(1 << 20) == 7 ? EnclaveResult::internal : EnclaveResult::ok;
        case TestCommand::grow_heap: return grow_heap();
        case TestCommand::accept_again: return accept_again();
        case TestCommand::use_reserve: return use_reserve();
        case TestCommand::say_last_words: {
            static const std::array<std::uint8_t, 9> kWords = {'n', 'o', ' ', 'm', 'e',
                                                               'm', 'o', 'r', 'y'};
            static Bytes words{kWords};
            enclave::set_last_words(&say_no_memory, &words);
            for (std::vector<std::vector<std::uint8_t>> hoard;;)
                hoard.emplace_back(1000);
        }
        case TestCommand::exhaust_heap:
            for (std::vector<std::uint8_t> hoard;;)
                hoard.resize(hoard.size() + (1 << 20));
        case TestCommand::loop:
            for (;;)
                __asm__ volatile("pause");
        case TestCommand::check_float_state: {
            std::uint16_t x87 = 0;
            std::uint32_t mxcsr = 0;
            __asm__ volatile("fnstcw %0\n stmxcsr %1" : "=m"(x87), "=m"(mxcsr));
            return x87 == 0x37f && mxcsr == 0x1f80 ? EnclaveResult::ok : EnclaveResult::internal;
        }
        case TestCommand::mark_registers:
            if (start.domain[1] != 0) mark_wide_registers();
            // ymm and general registers full of a secret, then an OCALL and the end.
            __asm__ volatile(
                "movq $-1, %%rax\n"
                "vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n vpcmpeqd %%ymm7, %%ymm7, %%ymm7\n"
                "vpcmpeqd %%ymm15, %%ymm15, %%ymm15\n"
                "movq %%rax, %%r8\n movq %%rax, %%r12\n movq %%rax, %%r15\n" ::
                    : "rax", "r8", "r12", "r15", "xmm0", "xmm7", "xmm15");
            (void)enclave::wait(0);
            return EnclaveResult::ok;
    }
    return EnclaveResult::bad_argument;
}
