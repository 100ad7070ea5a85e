// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/soft_enclave.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "config/descriptor.hpp"
#include "sgx/loader/soft/gate.hpp"
#include "sgx/loader/soft/placement.hpp"
#include "sgx/loader/soft/platform.hpp"

namespace sgm::sgx::soft {
namespace {

using config::Descriptor;

std::expected<Descriptor, std::string> open_file(const std::filesystem::path& path) {
    Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    return file;
}

std::string system_error(std::string_view what) {
    return fmt::format("{}: {}", what, std::strerror(errno));
}

// The monitor's process. A thread of its own starts it and stays until it has ended: the monitor
// dies with the thread that started it (PR_SET_PDEATHSIG), and whoever waits at the gate is told.
class Keeper final {
  public:
    Keeper(Gates& gates, std::filesystem::path program, int monitor_socket)
        : gates_{gates}, program_{std::move(program)} {
        std::promise<std::string> started;
        auto result = started.get_future();
        thread_ = std::thread{[this, monitor_socket, started = std::move(started)]() mutable {
            keep(monitor_socket, started);
        }};
        error_ = result.get();
    }
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;
    ~Keeper() {
        kill();
        thread_.join();
    }

    // Empty when the monitor was started.
    [[nodiscard]] const std::string& error() const { return error_; }

    void kill() {
        const std::lock_guard lock{mutex_};
        killed_ = true;
        if (pid_descriptor_.get() >= 0)
            ::syscall(SYS_pidfd_send_signal, pid_descriptor_.get(), SIGKILL, nullptr, 0);
    }

    // Once the turn is gone.
    [[nodiscard]] EnclaveLoss loss() const {
        const std::lock_guard lock{mutex_};
        if (gates_.fault_signal != 0)
            return {.cause = EnclaveLoss::Cause::fault,
                    .signal = static_cast<int>(gates_.fault_signal),
                    .offset = gates_.fault_offset};
        if (killed_ || ended_.si_code == CLD_KILLED || ended_.si_code == CLD_DUMPED)
            return {.cause = EnclaveLoss::Cause::killed,
                    .signal = killed_ ? SIGKILL : ended_.si_status};
        return {.cause = EnclaveLoss::Cause::exited};
    }

  private:
    void keep(int monitor_socket, std::promise<std::string>& started) {
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, monitor_socket, kMonitorSocket);
        ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        ::posix_spawn_file_actions_addclosefrom_np(&actions, kMonitorSocket + 1);
        posix_spawnattr_t attributes;
        ::posix_spawnattr_init(&attributes);
        // Signals that the host blocks or ignores are its own affair; a group of its own keeps the
        // terminal's Ctrl-C from killing the enclave before the host has decided.
        sigset_t none;
        sigset_t all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &all);
        ::posix_spawnattr_setpgroup(&attributes, 0);
        ::posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
        std::string name = program_.filename();
        char* arguments[] = {name.data(), nullptr};
        char* environment[] = {nullptr};
        pid_t pid = 0;
        const int error =
            ::posix_spawn(&pid, program_.c_str(), &actions, &attributes, arguments, environment);
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
        if (error != 0) {
            started.set_value(fmt::format("{}: the monitor of software SGX cannot be started: {}",
                                          program_.string(), std::strerror(error)));
            return;
        }
        Descriptor pid_descriptor{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
        if (pid_descriptor.get() < 0) {
            const std::string why = system_error("the monitor of software SGX cannot be watched");
            ::kill(pid, SIGKILL);  // still ours: nobody else waits for it
            ::waitpid(pid, nullptr, 0);
            started.set_value(why);
            return;
        }
        {
            const std::lock_guard lock{mutex_};
            pid_descriptor_ = std::move(pid_descriptor);
        }
        started.set_value({});

        siginfo_t ended{};
        while (::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) != 0 &&
               errno == EINTR) {
        }
        const std::lock_guard lock{mutex_};
        ended_ = ended;
        pid_descriptor_ = Descriptor{};
        ::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED);
        for (Gate& gate : gates_.threads) {
            gate.turn.store(Turn::gone);
            wake(gate.turn);
        }
    }

    Gates& gates_;
    std::filesystem::path program_;
    std::string error_;
    mutable std::mutex mutex_;
    Descriptor pid_descriptor_;
    bool killed_ = false;
    siginfo_t ended_{};
    std::thread thread_;
};

// What the host has learnt about crossing one gate.
struct Way {
    Patience patience;
    Placement placement;
    pid_t enclave_thread = 0;
};

class SoftEnclave final : public Enclave {
  public:
    SoftEnclave() = default;
    ~SoftEnclave() override {
        keeper_.reset();  // first: nobody uses the memory any more
        for (const SharedMemory& memory : shared_)
            ::munmap(memory.host.data(), memory.host.size());
        if (gates_ != nullptr) ::munmap(gates_, sizeof(Gates));
    }

    std::expected<void, std::string> load(const LoadRequest& request);

    const EnclaveIdentity& identity() const override { return identity_; }
    std::string_view protection() const override { return protection_; }
    std::uint32_t features() const override { return wire::kStartHeapGrows; }
    std::expected<SharedMemory, std::string> share(int descriptor, std::size_t size) override;
    std::expected<wire::EnclaveResult, EnclaveLoss> run(wire::EcallNumber number,
                                                        std::uint64_t argument,
                                                        OcallHandler& handler) override;
    void kill() override { keeper_->kill(); }

  private:
    [[nodiscard]] bool send(const SetupRequest& request, std::span<const int> descriptors) const;
    [[nodiscard]] std::expected<SetupReply, std::string> ask(
        const SetupRequest& request, std::span<const int> descriptors) const;
    // One of the enclave's threads, while a call of ours is in it.
    class Thread;
    [[nodiscard]] bool start();
    [[nodiscard]] std::expected<wire::EnclaveResult, EnclaveLoss> run_on(Gate& gate, Way& way,
                                                                         wire::EcallNumber number,
                                                                         std::uint64_t argument,
                                                                         OcallHandler& handler);

    Descriptor socket_;
    Gates* gates_ = nullptr;
    std::unique_ptr<Keeper> keeper_;
    std::vector<SharedMemory> shared_;
    EnclaveIdentity identity_{};
    std::string protection_;
    std::size_t thread_count_ = 0;
    std::mutex mutex_;  // of what follows
    std::condition_variable thread_is_free_;
    std::vector<std::size_t> free_threads_;
    std::array<Way, kMaxThreads> ways_;
    bool started_ = false;
    std::atomic<bool> dead_ = false;
};

// Waits until one is free.
class SoftEnclave::Thread final {
  public:
    explicit Thread(SoftEnclave& enclave) : enclave_{enclave} {
        std::unique_lock lock{enclave.mutex_};
        enclave.thread_is_free_.wait(lock, [&] { return !enclave.free_threads_.empty(); });
        number_ = enclave.free_threads_.back();
        enclave.free_threads_.pop_back();
    }
    ~Thread() {
        {
            const std::lock_guard lock{enclave_.mutex_};
            enclave_.free_threads_.push_back(number_);
        }
        enclave_.thread_is_free_.notify_one();
    }
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;
    [[nodiscard]] Gate& gate() const { return enclave_.gates_->threads[number_]; }
    [[nodiscard]] Way& way() const { return enclave_.ways_[number_]; }

  private:
    SoftEnclave& enclave_;
    std::size_t number_ = 0;
};

std::expected<void, std::string> SoftEnclave::load(const LoadRequest& request) {
    const auto image = open_file(request.image);
    if (!image) return std::unexpected(image.error());
    const auto sigstruct = open_file(request.sigstruct);
    if (!sigstruct) return std::unexpected(sigstruct.error());
    // Makes it when it is not there.
    if (auto key = load_or_create_fuse_key(request.fuse_key); !key)
        return std::unexpected(std::move(key.error()));
    const auto fuse_key = open_file(request.fuse_key);
    if (!fuse_key) return std::unexpected(fuse_key.error());
    std::filesystem::path monitor = request.monitor;
    if (monitor.empty())
        monitor =
            std::filesystem::read_symlink("/proc/self/exe").parent_path() / "sgm-soft-monitor";

    const Descriptor gate{::memfd_create("sgm-gate", MFD_CLOEXEC)};
    if (gate.get() < 0 || ::ftruncate(gate.get(), sizeof(Gates)) != 0)
        return std::unexpected(system_error("no shared memory"));
    void* memory =
        ::mmap(nullptr, sizeof(Gates), PROT_READ | PROT_WRITE, MAP_SHARED, gate.get(), 0);
    if (memory == MAP_FAILED) return std::unexpected(system_error("no shared memory"));
    gates_ = static_cast<Gates*>(memory);
    for (Gate& thread : gates_->threads)
        thread.turn.store(Turn::enclave);

    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0)
        return std::unexpected(system_error("no socket"));
    socket_ = Descriptor{sockets[0]};
    {
        const Descriptor theirs{sockets[1]};
        keeper_ = std::make_unique<Keeper>(*gates_, monitor, theirs.get());
        if (!keeper_->error().empty()) return std::unexpected(keeper_->error());
    }
    const std::array descriptors = {image->get(), sigstruct->get(), fuse_key->get(), gate.get()};
    const auto reply = ask({.kind = SetupKind::load, .reserved = 0, .size = 0}, descriptors);
    if (!reply)
        return std::unexpected(fmt::format("{}: {}", request.image.string(), reply.error()));
    identity_ = reply->identity;
    thread_count_ = std::min<std::size_t>(reply->thread_count, kMaxThreads);
    for (std::size_t i = thread_count_; i > 0; --i)  // the lowest is taken first
        free_threads_.push_back(i - 1);
    protection_ = fmt::format("{}; {}", kBanner, reply->text.data());
    return {};
}

bool SoftEnclave::send(const SetupRequest& request, std::span<const int> descriptors) const {
    SetupRequest copy = request;
    iovec data{&copy, sizeof copy};
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(4 * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof request);
}

std::expected<SetupReply, std::string> SoftEnclave::ask(const SetupRequest& request,
                                                        std::span<const int> descriptors) const {
    SetupReply reply{};
    ssize_t size = -1;
    if (send(request, descriptors)) {
        do {
            size = ::recv(socket_.get(), &reply, sizeof reply, 0);
        } while (size < 0 && errno == EINTR);
    }
    // The monitor's end of the socket closes when it ends, so this never waits for a dead one.
    if (size != static_cast<ssize_t>(sizeof reply))
        return std::unexpected("the monitor of software SGX ended unexpectedly");
    reply.text.back() = 0;
    if (reply.ok != 1) return std::unexpected(std::string{reply.text.data()});
    return reply;
}

std::expected<SharedMemory, std::string> SoftEnclave::share(int descriptor, std::size_t size) {
    if (started_) return std::unexpected("memory can be shared only before the enclave runs");
    struct stat status{};
    if (size == 0 || ::fstat(descriptor, &status) != 0 || status.st_size < 0 ||
        static_cast<std::uint64_t>(status.st_size) < size)
        return std::unexpected("the memory to share is smaller than was said");
    const auto reply =
        ask({.kind = SetupKind::share, .reserved = 0, .size = size}, std::array{descriptor});
    if (!reply) return std::unexpected(reply.error());
    void* here = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (here == MAP_FAILED) return std::unexpected(system_error("memory cannot be shared"));
    shared_.push_back(
        {.host = {static_cast<std::uint8_t*>(here), size}, .enclave_address = reply->address});
    return shared_.back();
}

// Once; whoever comes meanwhile waits.
bool SoftEnclave::start() {
    const std::lock_guard lock{mutex_};
    if (started_) return true;
    started_ = true;
    if (!send({.kind = SetupKind::start, .reserved = 0, .size = 0}, {})) return false;
    for (std::size_t thread = 0; thread < thread_count_; ++thread) {
        Gate& gate = gates_->threads[thread];
        Way& way = ways_[thread];
        if (await_turn(gate, Turn::enclave, gate.host, Whereabouts::apart, way.patience) !=
            Turn::host)
            return false;
        // Once, while only the monitor has run: the enclave could name any thread of this user.
        way.enclave_thread = static_cast<pid_t>(gate.enclave_thread.load());
    }
    return true;
}

// Into the enclave and out again. False when it is gone.
bool cross(Gate& gate, Way& way, std::uint64_t rdi, std::uint64_t rsi) {
    gate.rdi = rdi;
    gate.rsi = rsi;
    gate.rdx = 0;
    Whereabouts whereabouts = note_whereabouts(gate.host, gate.enclave);
    std::optional<KeptAway> kept_away;
    if (way.placement.wants_to_part(whereabouts, Placement::Clock::now)) {
        kept_away.emplace(way.enclave_thread);
        if (kept_away->moved()) whereabouts = Whereabouts::apart;
    }
    // The keeper may have said `gone` in the meantime: that word must stay.
    Turn mine = Turn::host;
    if (!gate.turn.compare_exchange_strong(mine, Turn::enclave)) return false;
    if (gate.enclave.asleep.load() != 0) wake(gate.turn);
    return await_turn(gate, Turn::enclave, gate.host, whereabouts, way.patience) == Turn::host;
}

std::expected<wire::EnclaveResult, EnclaveLoss> SoftEnclave::run(wire::EcallNumber number,
                                                                 std::uint64_t argument,
                                                                 OcallHandler& handler) {
    if (dead_) return std::unexpected(EnclaveLoss{.cause = EnclaveLoss::Cause::not_loaded});
    if (!start()) {
        dead_ = true;
        return std::unexpected(keeper_->loss());
    }
    const Thread thread{*this};
    return run_on(thread.gate(), thread.way(), number, argument, handler);
}

std::expected<wire::EnclaveResult, EnclaveLoss> SoftEnclave::run_on(Gate& gate, Way& way,
                                                                    wire::EcallNumber number,
                                                                    std::uint64_t argument,
                                                                    OcallHandler& handler) {
    const auto lost = [this](const EnclaveLoss& loss) {
        dead_ = true;
        return std::unexpected(loss);
    };
    std::uint64_t rdi = static_cast<std::uint64_t>(number);
    std::uint64_t rsi = argument;
    for (;;) {
        if (!cross(gate, way, rdi, rsi)) return lost(keeper_->loss());
        switch (wire::ExitReason{gate.rdi}) {
            case wire::ExitReason::ocall: {
                wire::OcallFrame* frame = frame_at(shared_, gate.rdx);
                if (frame == nullptr) break;
                handler.on_ocall(*frame);
                rdi = wire::kReturnFromOcall;
                rsi = 0;
                continue;
            }
            case wire::ExitReason::ecall_done: return wire::EnclaveResult{gate.rsi};
            case wire::ExitReason::abort: {
                const wire::EnclaveResult reason{gate.rsi};
                dead_ = true;
                keeper_->kill();
                return reason;
            }
        }
        keeper_->kill();
        return lost({.cause = EnclaveLoss::Cause::protocol});
    }
}

}  // namespace

std::expected<std::unique_ptr<Enclave>, std::string> load_soft_enclave(const LoadRequest& request) {
    auto enclave = std::make_unique<SoftEnclave>();
    if (auto loaded = enclave->load(request); !loaded)
        return std::unexpected(std::move(loaded.error()));
    return enclave;
}

}  // namespace sgm::sgx::soft
