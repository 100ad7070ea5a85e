// SPDX-License-Identifier: MIT
// sgm-soft-monitor: the process that an enclave of software SGX lives in. The loader starts it
// with one socket and nothing else of its own; over that come the image, the machine's key and the
// shared memory. Before the first ECALL it gives up every system call but futex and exit.
#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "sgx/loader/soft/confine.hpp"
#include "sgx/loader/soft/cpu.hpp"
#include "sgx/loader/soft/gate.hpp"

namespace sgm::sgx::soft {
namespace {

// Ends of this process that are no fault; nobody is left to read a message.
constexpr int kExitHostGone = 0;
constexpr int kExitSetup = 1;
constexpr int kExitFault = 2;

Gates* gates = nullptr;
std::unique_ptr<Cpu> cpu;
std::string confinement;

[[noreturn]] void leave(int status) {
    for (;;)
        ::syscall(SYS_exit_group, status);
}

// A fault of the enclave, or a system call that it tried. FS may be the enclave's, so ours comes
// back before anything of the C library is touched.
__attribute__((no_stack_protector, no_sanitize("address", "undefined"))) void on_fault(
    int signal, siginfo_t*, void* context) {
    std::uint64_t gs = 0;
    __asm__ volatile("rdgsbase %0" : "=r"(gs));
    if (const Outer* outer = cpu->outer_of(gs); outer != nullptr)
        __asm__ volatile("wrfsbase %0" : : "r"(outer->fs));
    const auto* machine = &static_cast<const ucontext_t*>(context)->uc_mcontext;
    const auto rip = static_cast<std::uint64_t>(machine->gregs[REG_RIP]);
    gates->fault_offset = cpu->contains(rip) ? rip - cpu->base() : EnclaveLoss::kNoOffset;
    gates->fault_signal = static_cast<std::uint32_t>(signal);
    leave(kExitFault);
}

// What each thread needs of its own before it goes in: RDTSC faults, as in an enclave of SGX1, and
// the enclave's stack is none for a signal. The host learns which thread it is.
bool prepare_thread(std::size_t thread) {
    static std::array<std::array<std::uint8_t, 64 * 1024>, kMaxThreads> stacks;
    gates->threads[thread].enclave_thread.store(static_cast<std::uint32_t>(::gettid()));
    stack_t alternate{};
    alternate.ss_sp = stacks[thread].data();
    alternate.ss_size = stacks[thread].size();
    return ::sigaltstack(&alternate, nullptr) == 0 && ::prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0;
}

bool catch_faults() {
    struct sigaction action{};
    action.sa_sigaction = &on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigfillset(&action.sa_mask);
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGTRAP})
        if (::sigaction(signal, &action, nullptr) != 0) return false;
    return true;
}

// futex, rt_sigreturn, exit, exit_group; everything else is SIGSYS. For all threads.
bool give_up_system_calls() {
    constexpr std::uint32_t kArch = offsetof(seccomp_data, arch);
    constexpr std::uint32_t kNumber = offsetof(seccomp_data, nr);
    const auto statement = [](int code, std::uint32_t k) {
        return sock_filter{static_cast<std::uint16_t>(code), 0, 0, k};
    };
    // Skips `skip` statements when it holds.
    const auto equal = [](std::uint32_t k, std::uint8_t skip) {
        return sock_filter{BPF_JMP | BPF_JEQ | BPF_K, skip, 0, k};
    };
    std::array filter = {
        statement(BPF_LD | BPF_W | BPF_ABS, kArch),
        equal(AUDIT_ARCH_X86_64, 1),
        statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        statement(BPF_LD | BPF_W | BPF_ABS, kNumber),
        equal(SYS_futex, 4),
        equal(SYS_rt_sigreturn, 3),
        equal(SYS_exit_group, 2),
        equal(SYS_exit, 1),
        statement(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) ==
               0;
}

struct Request {
    SetupRequest request;
    std::vector<int> descriptors;
};

// nullopt: the host is gone, or speaks another language.
std::optional<Request> receive() {
    constexpr std::size_t kMaxDescriptors = 4;
    Request received{};
    iovec data{&received.request, sizeof received.request};
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t size = 0;
    do {
        size = ::recvmsg(kMonitorSocket, &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size != sizeof received.request || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return std::nullopt;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
        header != nullptr && header->cmsg_type == SCM_RIGHTS) {
        received.descriptors.resize((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        std::memcpy(received.descriptors.data(), CMSG_DATA(header),
                    received.descriptors.size() * sizeof(int));
    }
    return received;
}

// Maps shared memory; the sentence says why not.
std::expected<std::uint64_t, std::string> map_shared(int descriptor, std::uint64_t size) {
    struct stat status{};
    if (::fstat(descriptor, &status) != 0 || status.st_size < 0 ||
        static_cast<std::uint64_t>(status.st_size) < size || size == 0)
        return std::unexpected("the memory to share is smaller than was said");
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        return std::unexpected(
            fmt::format("memory cannot be shared with the enclave: {}", std::strerror(errno)));
    return reinterpret_cast<std::uint64_t>(memory);
}

// What answer() wants; the address means nothing here.
std::expected<std::uint64_t, std::string> load(const std::vector<int>& descriptors) {
    if (descriptors.size() != 4 || cpu) return std::unexpected("a bad request to load");
    const auto elf = read_descriptor(descriptors[0], kMaxEnclaveFile);
    if (!elf) return std::unexpected("the enclave file is refused: " + elf.error());
    const auto sigstruct = read_descriptor(descriptors[1], sizeof(Sigstruct) + 1);
    if (!sigstruct) return std::unexpected("the signature file is refused: " + sigstruct.error());
    auto key = read_fuse_key(descriptors[2]);
    if (!key) return std::unexpected("the fuse key is refused: " + key.error());
    const auto memory = map_shared(descriptors[3], sizeof(Gates));
    if (!memory) return std::unexpected(memory.error());
    gates = reinterpret_cast<Gates*>(*memory);
    auto made = Cpu::load(*elf, *sigstruct, std::move(*key));
    if (!made) return std::unexpected(std::move(made.error()));
    cpu = std::move(*made);
    return 0;
}

void answer(const std::expected<std::uint64_t, std::string>& result) {
    SetupReply reply{};
    std::string text;
    if (result) {
        reply.ok = 1;
        reply.thread_count = static_cast<std::uint32_t>(cpu->layout().thread_count);
        reply.address = *result;
        const Secs& secs = cpu->secs();
        reply.identity = {.mrenclave = secs.mrenclave,
                          .mrsigner = secs.mrsigner,
                          .attributes = secs.attributes,
                          .isv_prod_id = secs.isvprodid,
                          .isv_svn = secs.isvsvn};
        text = cpu->memory_protection() + "; " + confinement;
    } else {
        text = result.error();
    }
    std::copy_n(text.begin(), std::min(text.size(), reply.text.size() - 1), reply.text.begin());
    if (::send(kMonitorSocket, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply)
        leave(kExitHostGone);
}

// Until the host says start.
void set_up() {
    for (;;) {
        const auto request = receive();
        if (!request) leave(kExitHostGone);
        switch (request->request.kind) {
            case SetupKind::load: answer(load(request->descriptors)); break;
            case SetupKind::share:
                if (!cpu || request->descriptors.size() != 1) leave(kExitSetup);
                answer(map_shared(request->descriptors[0], request->request.size));
                break;
            case SetupKind::start:
                if (!cpu) leave(kExitSetup);
                return;
            default: leave(kExitSetup);
        }
        for (const int descriptor : request->descriptors)
            ::close(descriptor);
    }
}

[[noreturn]] void serve(std::size_t thread) {
    Gate& gate = gates->threads[thread];
    Patience patience;
    for (;;) {
        const Whereabouts whereabouts = note_whereabouts(gate.enclave, gate.host);
        gate.turn.store(Turn::host);
        if (gate.host.asleep.load() != 0) wake(gate.turn);
        (void)await_turn(gate, Turn::host, gate.enclave, whereabouts, patience);
        Crossing crossing{gate.rdi, gate.rsi, gate.rdx};
        cpu->enter(crossing, thread);
        gate.rdi = crossing.rdi;
        gate.rsi = crossing.rsi;
        gate.rdx = crossing.rdx;
    }
}

// The main thread is the enclave's thread 0. The others wait here until the filter is up.
[[noreturn]] void serve_all() {
    const std::size_t count = cpu->layout().thread_count;
    static std::latch ready{static_cast<std::ptrdiff_t>(count)};
    static std::latch locked_in{1};
    for (std::size_t thread = 1; thread < count; ++thread) {
        std::thread{[thread] {
            if (!prepare_thread(thread)) leave(kExitSetup);
            ready.count_down();
            locked_in.wait();
            serve(thread);
        }}.detach();
    }
    if (!prepare_thread(0)) leave(kExitSetup);
    ready.arrive_and_wait();
    if (!give_up_system_calls()) leave(kExitSetup);
    locked_in.count_down();
    serve(0);
}

}  // namespace
}  // namespace sgm::sgx::soft

int main() {
    using namespace sgm::sgx::soft;
    confinement = confine();
    // Dies with the thread that started it; if that had ended before this line, the socket says
    // so. No other process of this user may look in, and no core is ever written.
    const rlimit none{0, 0};
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::prctl(PR_SET_DUMPABLE, 0) != 0 ||
        ::setrlimit(RLIMIT_CORE, &none) != 0)
        leave(kExitSetup);
    set_up();
    if (!catch_faults()) leave(kExitSetup);
    for (const int descriptor : {0, 1, 2, kMonitorSocket})
        ::close(descriptor);
    serve_all();
}
