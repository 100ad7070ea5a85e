// SPDX-License-Identifier: MIT
#include "sgx/loader/device/testing/fake_cpu.hpp"

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "sgx/loader/device/testing/fake_thread.hpp"

using sgm::sgx::device::testing::FakeThread;

std::array<FakeThread, sgm::sgx::device::testing::kMaxFakeThreads> sgm_fake_threads;

extern "C" {
// fake_vdso.S
void sgm_fake_aep();
void sgm_fake_exception();
void sgm_fake_enclu_inside();
}

namespace sgm::sgx::device::testing {
namespace {

constexpr std::uint64_t kPageFault = 14;
constexpr std::uint64_t kProtection = 13;
constexpr std::uint64_t kSgxFault = 0x8000;
constexpr std::size_t kGprSize = 184;
constexpr std::size_t kXsaveHeader = 512;  // XSTATE_BV, XCOMP_BV

// GPRSGX, SDM vol. 3D, 38.9.1.1.
struct Gprsgx {
    std::uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
    std::array<std::uint64_t, 8> r8_to_r15;
    std::uint64_t rflags, rip, ursp, urbp;
    std::uint32_t exitinfo, reserved;
    std::uint64_t fsbase, gsbase;
};
static_assert(sizeof(Gprsgx) == kGprSize);
static_assert(offsetof(Gprsgx, rflags) == 128 && offsetof(Gprsgx, fsbase) == 168);

// Not of the standard library: used where FS is not ours.
std::atomic<std::uint64_t> interrupts;
std::atomic<std::uint64_t> exceptions;

std::mutex mutex;
std::map<const FakeEnclave*, const soft::SoftPlatform*> platforms;

__attribute__((no_stack_protector)) FakeThread* thread_inside(std::uint64_t gs) {
    if (gs == 0) return nullptr;
    for (FakeThread& thread : sgm_fake_threads)
        if (thread.gs == gs) return &thread;
    return nullptr;
}

std::uint64_t read_gs() {
    std::uint64_t gs = 0;
    __asm__ volatile("rdgsbase %0" : "=r"(gs));
    return gs;
}
std::uint64_t read_fs() {
    std::uint64_t fs = 0;
    __asm__ volatile("rdfsbase %0" : "=r"(fs));
    return fs;
}
void write_fs(std::uint64_t fs) {
    __asm__ volatile("wrfsbase %0" : : "r"(fs) : "memory");
}
void write_gs(std::uint64_t gs) {
    __asm__ volatile("wrgsbase %0" : : "r"(gs) : "memory");
}

std::uint8_t* ssa_frame(const FakeThread& thread, std::uint64_t index) {
    return reinterpret_cast<std::uint8_t*>(thread.first_ssa + index * kPageSize);
}

// The general registers of a signal's frame, in the order of Gprsgx and back.
void save_registers(const gregset_t& from, Gprsgx& to) {
    const auto value = [&](int index) { return static_cast<std::uint64_t>(from[index]); };
    to.rax = value(REG_RAX);
    to.rcx = value(REG_RCX);
    to.rdx = value(REG_RDX);
    to.rbx = value(REG_RBX);
    to.rsp = value(REG_RSP);
    to.rbp = value(REG_RBP);
    to.rsi = value(REG_RSI);
    to.rdi = value(REG_RDI);
    for (int i = 0; i < 8; ++i)
        to.r8_to_r15[static_cast<std::size_t>(i)] = value(REG_R8 + i);
    to.rflags = value(REG_EFL);
    to.rip = value(REG_RIP);
}

// The asynchronous exit, SDM vol. 3D, 39.4: state into the SSA frame, the synthetic state out.
void exit_asynchronously(FakeThread& thread, ucontext_t& context, std::uint64_t enclave_fs) {
    gregset_t& registers = context.uc_mcontext.gregs;
    std::uint8_t* frame = ssa_frame(thread, thread.cssa);
    auto* gpr = reinterpret_cast<Gprsgx*>(frame + kPageSize - kGprSize);
    save_registers(registers, *gpr);
    gpr->ursp = thread.outer_rsp;
    gpr->urbp = thread.outer_rbp;
    gpr->fsbase = enclave_fs;
    gpr->gsbase = thread.gs;
    auto* extended = reinterpret_cast<std::uint8_t*>(context.uc_mcontext.fpregs);
    const std::uint64_t xfrm = thread.enclave->attributes().xfrm;
    std::memcpy(frame, extended, (xfrm & 0xe0) != 0 ? 2688 : 832);
    std::uint64_t components = 0;
    std::memcpy(&components, frame + kXsaveHeader, sizeof components);
    components &= xfrm;
    std::memset(frame + kXsaveHeader, 0, 64);
    std::memcpy(frame + kXsaveHeader, &components, sizeof components);
    // Outside, every component is in its initial state.
    std::memset(extended + kXsaveHeader, 0, sizeof components);
    constexpr std::uint32_t kMxcsr = 0x1f80;
    std::memcpy(extended + 24, &kMxcsr, sizeof kMxcsr);

    for (int i = 0; i < 8; ++i)
        registers[REG_R8 + i] = 0;
    for (const int index : {REG_RDX, REG_RSI, REG_RDI})
        registers[index] = 0;
    registers[REG_RAX] = static_cast<greg_t>(Enclu::eresume);
    registers[REG_RBX] = static_cast<greg_t>(thread.tcs);
    registers[REG_RCX] = static_cast<greg_t>(thread.aep);
    registers[REG_RSP] = static_cast<greg_t>(thread.outer_rsp);
    registers[REG_RBP] = static_cast<greg_t>(thread.outer_rbp);
    registers[REG_RIP] = static_cast<greg_t>(thread.aep);
    registers[REG_EFL] = 0x202;
    ++thread.cssa;
    thread.busy = 0;
    write_gs(thread.outer_gs);
}

// What the kernel does next with an exception at the vDSO's ENCLU: no signal, but its fixup.
void report_exception(FakeThread& thread, gregset_t& registers) {
    std::uint64_t address = static_cast<std::uint64_t>(registers[REG_CR2]);
    std::uint64_t error = static_cast<std::uint64_t>(registers[REG_ERR]);
    const std::uint64_t vector = static_cast<std::uint64_t>(registers[REG_TRAPNO]);
    if (vector == kPageFault) {
        if (address - thread.enclave->base() < thread.enclave->size()) address &= ~(kPageSize - 1);
        if (thread.enclave->lost()) error |= kSgxFault;
    } else {
        address = 0;
    }
    registers[REG_RIP] = static_cast<greg_t>(reinterpret_cast<std::uint64_t>(&sgm_fake_exception));
    registers[REG_RDI] = static_cast<greg_t>(vector);
    registers[REG_RSI] = static_cast<greg_t>(error);
    registers[REG_RDX] = static_cast<greg_t>(address);
}

__attribute__((no_stack_protector)) void on_signal(int signal, siginfo_t*, void* context) {
    FakeThread* thread = thread_inside(read_gs());
    auto& machine = *static_cast<ucontext_t*>(context);
    const bool interrupt = signal == SIGUSR1;
    if (thread == nullptr) {
        // A fault of the test itself ends it: returning runs into it again.
        if (!interrupt) ::signal(signal, SIG_DFL);
        return;
    }
    // FS may be the enclave's: nothing of the C library before it is ours again.
    const std::uint64_t fs = read_fs();
    write_fs(thread->outer_fs);
    const auto rip = static_cast<std::uint64_t>(machine.uc_mcontext.gregs[REG_RIP]);
    // An interrupt while this CPU's own code runs waits for the next one.
    if (interrupt && rip - thread->enclave->base() >= thread->enclave->size()) {
        write_fs(fs);
        return;
    }
    exit_asynchronously(*thread, machine, fs);
    if (interrupt) {
        ++interrupts;
        return;  // the kernel returns to the AEP, an ENCLU[ERESUME]
    }
    report_exception(*thread, machine.uc_mcontext.gregs);
    ++exceptions;
}

// Once for each thread: signals come on a stack of their own, because rsp is the enclave's.
void catch_signals() {
    struct AlternateStack {
        std::array<std::uint8_t, 64 * 1024> bytes;
        AlternateStack() {
            stack_t stack{};
            stack.ss_sp = bytes.data();
            stack.ss_size = bytes.size();
            ::sigaltstack(&stack, nullptr);
            struct sigaction action{};
            action.sa_sigaction = &on_signal;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            ::sigfillset(&action.sa_mask);
            for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGUSR1})
                ::sigaction(signal, &action, nullptr);
        }
        ~AlternateStack() {
            stack_t none{};
            none.ss_flags = SS_DISABLE;
            ::sigaltstack(&none, nullptr);
        }
    };
    thread_local AlternateStack stack;
    (void)stack;
}

void fault(FakeThread& thread, std::uint64_t vector, std::uint64_t error, std::uint64_t address) {
    thread.fault_vector = vector;
    thread.fault_error = error;
    thread.fault_address = address;
}

}  // namespace

void plug_in(FakeEnclave& enclave, std::uint64_t soft_enclu_offset,
             const soft::SoftPlatform& platform) {
    const auto hook = reinterpret_cast<std::uint64_t>(&sgm_fake_enclu_inside);
    std::memcpy(enclave.pages() + soft_enclu_offset, &hook, sizeof hook);
    const std::lock_guard lock{mutex};
    platforms[&enclave] = &platform;
    for (const std::uint64_t offset : enclave.tcs_offsets()) {
        Tcs tcs;
        std::memcpy(&tcs, enclave.pages() + offset, sizeof tcs);
        const auto free = std::ranges::find(sgm_fake_threads, 0u, &FakeThread::gs);
        if (free == sgm_fake_threads.end()) throw std::bad_alloc{};
        *free = {};
        free->enclave = &enclave;
        free->tcs = enclave.base() + offset;
        free->entry = enclave.base() + tcs.oentry;
        free->fs = enclave.base() + tcs.ofsbase;
        free->nssa = tcs.nssa;
        free->first_ssa = reinterpret_cast<std::uint64_t>(enclave.pages() + tcs.ossa);
        free->gs = enclave.base() + tcs.ogsbase;
    }
}

void unplug(const FakeEnclave& enclave) {
    const std::lock_guard lock{mutex};
    platforms.erase(&enclave);
    for (FakeThread& thread : sgm_fake_threads)
        if (thread.enclave == &enclave) thread = {};
}

std::uint64_t interrupts_taken() {
    return interrupts;
}
std::uint64_t exceptions_taken() {
    return exceptions;
}

}  // namespace sgm::sgx::device::testing

using namespace sgm::sgx;
using namespace sgm::sgx::device::testing;

// ENCLU outside: the checks of EENTER and ERESUME. The thread comes back even if there is none, to
// carry the fault.
extern "C" FakeThread* sgm_fake_enclu(std::uint32_t leaf, std::uint64_t tcs, std::uint64_t aep) {
    static thread_local FakeThread nobody;
    catch_signals();
    const std::lock_guard lock{mutex};
    const auto found = std::ranges::find(sgm_fake_threads, tcs, &FakeThread::tcs);
    if (tcs == 0 || found == sgm_fake_threads.end()) {
        fault(nobody, kPageFault, 0x4, tcs);
        return &nobody;
    }
    FakeThread& thread = *found;
    fault(thread, 0, 0, 0);
    const bool resume = leaf == static_cast<std::uint32_t>(Enclu::eresume);
    if (thread.enclave->lost()) {
        fault(thread, kPageFault, kSgxFault | 0x5, tcs);
    } else if (thread.busy != 0 || (resume ? thread.cssa == 0 : thread.cssa >= thread.nssa)) {
        // Into another's fault record: the thread that is inside needs its own.
        fault(nobody, kProtection, 0, 0);
        return &nobody;
    } else {
        if (resume) {
            --thread.cssa;
            thread.ssa = reinterpret_cast<std::uint64_t>(ssa_frame(thread, thread.cssa));
            thread.gpr = thread.ssa + kPageSize - kGprSize;
        }
        thread.busy = 1;
        thread.aep = aep;
    }
    return &thread;
}

// EREPORT, EGETKEY and EACCEPT. What the manual answers with #GP is an invalid instruction here.
extern "C" std::uint64_t sgm_fake_leaf(const FakeThread* thread, std::uint32_t number,
                                       std::uint64_t rbx, std::uint64_t rcx, std::uint64_t rdx) {
    FakeEnclave& enclave = *thread->enclave;
    std::unique_lock lock{mutex};
    const soft::SoftPlatform& platform = *platforms.at(&enclave);
    const auto operand = [&](std::uint64_t address, std::size_t size, std::size_t alignment) {
        if (address - enclave.base() > enclave.size() - size || address % alignment != 0)
            __builtin_trap();
        return enclave.pages() + (address - enclave.base());
    };
    const auto& signed_for = enclave.sigstruct();
    soft::Secs secs{};
    secs.attributes = enclave.attributes();
    secs.attributes.flags |= kAttributeInit;
    secs.mrenclave = enclave.mrenclave();
    secs.isvprodid = signed_for.isvprodid;
    secs.isvsvn = signed_for.isvsvn;
    secs.mrsigner = enclave.mrsigner();
    switch (Enclu{number}) {
        case Enclu::ereport: {
            TargetInfo target;
            ReportData data;
            std::memcpy(&target, operand(rbx, sizeof target, kTargetInfoAlignment), sizeof target);
            std::memcpy(&data, operand(rcx, sizeof data, kReportDataAlignment), sizeof data);
            const Report report = platform.create_report(secs, target, data);
            std::memcpy(operand(rdx, sizeof report, kReportAlignment), &report, sizeof report);
            return number;
        }
        case Enclu::egetkey: {
            KeyRequest request;
            std::memcpy(&request, operand(rbx, sizeof request, kKeyRequestAlignment),
                        sizeof request);
            const auto key = platform.get_key(secs, request);
            if (!key) return static_cast<std::uint64_t>(key.error());
            std::memcpy(operand(rcx, key->size(), kKeyAlignment), key->data(), key->size());
            return static_cast<std::uint64_t>(KeyError::none);
        }
        case Enclu::eaccept: {
            SecInfo expected;
            std::memcpy(&expected, operand(rbx, sizeof expected, alignof(SecInfo)),
                        sizeof expected);
            static_cast<void>(operand(rcx, kPageSize, kPageSize));
            if (!enclave.has_page(rcx) && !enclave.add_on_fault(rcx)) {
                // #PF, and no way back here.
                lock.unlock();
                static_cast<void>(*reinterpret_cast<volatile std::uint8_t*>(rcx));
                __builtin_trap();
            }
            return static_cast<std::uint64_t>(enclave.accept(expected, rcx));
        }
        default: __builtin_trap();
    }
}
