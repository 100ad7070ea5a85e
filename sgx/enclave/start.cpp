// SPDX-License-Identifier: MIT
// From the entry code to enclave_main: what has to be done once, and what every ECALL has to pass.
#include <atomic>
#include <cstdint>

#include "sgx/enclave/internal.hpp"
#include "sgx/enclave/runtime.hpp"
#include "sgx/enclave/untrusted.hpp"
#include "wire/ring.hpp"

namespace {

using sgm::wire::EnclaveResult;

// Elf64_Rela.
struct Relocation {
    std::uint64_t offset;
    std::uint64_t info;  // symbol << 32 | type
    std::uint64_t addend;
};
constexpr std::uint64_t kRelative = 8;  // R_X86_64_RELATIVE, no symbol

using Constructor = void (*)();

}  // namespace

extern "C" {
// enclave.ld. Only their addresses mean anything.
extern const Relocation __rela_start[];
extern const Relocation __rela_end[];
extern const Constructor __init_array_start[];
extern const Constructor __init_array_end[];
extern std::uint8_t __image_base[];
extern std::uint8_t __data_start[];
extern std::uint8_t __data_end[];
// entry.S
extern const sgm::wire::MeasuredConfig sgm_measured_config;
extern const sgm::sgx::EnclaveLayout sgm_enclave_layout;
[[noreturn]] void sgm_enclave_abort(std::uint64_t reason);
}

namespace sgm::enclave {
namespace {

// The thread page's address, zero until the thread has been set up.
std::uint64_t fs_word() {
    std::uint64_t value = 0;
    __asm__ volatile("movq %%fs:0, %0" : "=r"(value));
    return value;
}

}  // namespace

const wire::MeasuredConfig& measured_config() {
    return sgm_measured_config;
}

const sgx::EnclaveLayout& layout() {
    return sgm_enclave_layout;
}

void abort(wire::EnclaveResult reason) {
    sgm_enclave_abort(static_cast<std::uint64_t>(reason));
}

std::uint64_t base() {
    return reinterpret_cast<std::uint64_t>(__image_base);
}

std::size_t thread_index() {
    return static_cast<std::size_t>((fs_word() - base() - layout().thread_offset) /
                                    layout().thread_stride());
}

namespace {

enum class Stage { untouched, initialising, ready };
constinit std::atomic<Stage> stage = Stage::untouched;

// The table is measured, so a bad entry is a bad build; still, nothing but our data is written.
void relocate() {
    for (const Relocation* entry = __rela_start; entry != __rela_end; ++entry) {
        const std::uint64_t target = base() + entry->offset;
        if (entry->info != kRelative || entry->addend > layout().image_end ||
            target < reinterpret_cast<std::uint64_t>(__data_start) ||
            target > reinterpret_cast<std::uint64_t>(__data_end) - sizeof(std::uint64_t))
            abort(EnclaveResult::internal);
        const std::uint64_t value = base() + entry->addend;
        // Ours: checked just above.
        __builtin_memcpy(reinterpret_cast<void*>(target),  // NOLINT(performance-no-int-to-ptr)
                         &value, sizeof value);
    }
}

std::uint64_t random_word() {
    for (int i = 0; i < 10; ++i) {  // Intel SDM vol. 1, 7.3.17.1
        std::uint64_t value = 0;
        bool ok = false;
        __asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
        if (ok) return value;
    }
    abort(EnclaveResult::no_randomness);
}

// FS: the ABI's self pointer at 0 and the stack protector's canary at 0x28, for static libraries
// that were compiled with it.
void set_up_thread_page(std::uint64_t tcs) {
    if (fs_word() != 0) return;
    const std::uint64_t page = tcs + (layout().thread_offset - layout().tcs_offset);
    const std::uint64_t canary = random_word() & ~std::uint64_t{0xff};
    __asm__ volatile("movq %0, %%fs:0" : : "r"(page) : "memory");
    __asm__ volatile("movq %0, %%fs:0x28" : : "r"(canary) : "memory");
}

// Once, by whoever comes first. False: somebody else is at it.
bool initialise() {
    Stage seen = Stage::untouched;
    if (!stage.compare_exchange_strong(seen, Stage::initialising)) return seen == Stage::ready;
    relocate();
    adopt_heap();
    for (const Constructor* constructor = __init_array_start; constructor != __init_array_end;
         ++constructor)
        (*constructor)();
    stage.store(Stage::ready);
    return true;
}

EnclaveResult run(std::uint64_t argument) {
    const auto info = Outside::at(argument, sizeof(wire::StartInfo), alignof(wire::StartInfo));
    if (!info) return EnclaveResult::bad_argument;
    const auto start = info->load<wire::StartInfo>(0);
    const auto ring = Outside::at(start.ring, wire::kRingSize, sgx::kPageSize);
    const auto frame =
        Outside::at(start.ocall_frame, sizeof(wire::OcallFrame), alignof(wire::OcallFrame));
    if (!ring || !frame || start.buffer_size < wire::kMinOcallBuffer ||
        start.buffer_size > kMaxOcallBuffer)
        return EnclaveResult::bad_argument;
    const auto buffer = Outside::at(start.buffer, start.buffer_size);
    if (!buffer) return EnclaveResult::bad_argument;
    use_for_ocalls(*frame, *buffer);
    if ((start.features & wire::kStartHeapGrows) != 0) let_heap_grow();
    return enclave_main(start);
}

}  // namespace
}  // namespace sgm::enclave

// Called by entry.S; the first two values are the host's, the TCS is the CPU's word.
extern "C" std::uint64_t sgm_enclave_ecall(std::uint64_t number, std::uint64_t argument,
                                           std::uint64_t tcs) {
    sgm::enclave::set_up_thread_page(tcs);
    if (!sgm::enclave::initialise())
        return static_cast<std::uint64_t>(EnclaveResult::already_running);
    if (number != static_cast<std::uint64_t>(sgm::wire::EcallNumber::run))
        return static_cast<std::uint64_t>(EnclaveResult::bad_argument);
    sgm::enclave::speculation_barrier();
    return static_cast<std::uint64_t>(sgm::enclave::run(argument));
}
