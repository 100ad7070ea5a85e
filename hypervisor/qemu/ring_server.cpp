// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/ring_server.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <optional>

#include "hypervisor/qemu/unix_socket.hpp"
#include "wire/ring.hpp"
#include "wire/status_text.hpp"

namespace sgm::qemu {
namespace {

using wire::RingState;

static_assert(wire::kRingMaxCall == hypervisor::kMaxCallSize);
static_assert(wire::kRingMaxReply == hypervisor::kMaxReplySize);

// About what sleeping and being woken costs. An enclave that is busy asks again within it: it reads
// an answer before it asks for more.
constexpr std::chrono::microseconds kSpin{200};
constexpr int kLooks = 64;
// How often a sleeper looks whether the client has hung up, or the server ends.
constexpr timespec kLookInterval{.tv_sec = 0, .tv_nsec = 200'000'000};
constexpr int kLookIntervalMs = 200;
constexpr timeval kHelloTimeout{.tv_sec = 5, .tv_usec = 0};

// A ring that has been mapped. Accessed only by copies and by atomics on single words.
class Ring final {
  public:
    static std::optional<Ring> map(int fd) {
        struct stat status{};
        const int seals = ::fcntl(fd, F_GET_SEALS);
        // Without the seal the host could shrink it under our hands: SIGBUS.
        if (::fstat(fd, &status) != 0 || status.st_size != wire::kRingSize || seals < 0 ||
            (seals & F_SEAL_SHRINK) == 0) {
            return std::nullopt;
        }
        void* memory = ::mmap(nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) return std::nullopt;
        Ring ring{static_cast<std::uint8_t*>(memory)};
        ring.connection_ = ring.load(&wire::RingHeader::connection);
        return ring;
    }
    ~Ring() {
        if (memory_ != nullptr) ::munmap(memory_, wire::kRingSize);
    }
    Ring(Ring&& other) noexcept
        : memory_{std::exchange(other.memory_, nullptr)}, connection_{other.connection_} {}
    Ring& operator=(Ring&&) = delete;

    [[nodiscard]] RingState state() const {
        return static_cast<RingState>(load(&wire::RingHeader::state));
    }
    // Whether the client has hung up, and may have brought this memory to a new connection.
    [[nodiscard]] bool was_left() const {
        return load(&wire::RingHeader::connection) != connection_;
    }
    // A microsecond or two: seldom is there a call just while the time is asked and others let run.
    [[nodiscard]] RingState look_for_call() const {
        RingState now = state();
        for (int look = 1; look < kLooks && now != RingState::call; ++look) {
            __builtin_ia32_pause();
            now = state();
        }
        return now;
    }
    void set_reply() {
        store(&wire::RingHeader::state, static_cast<std::uint32_t>(RingState::reply));
        // After the store: a client says so before it looks at the state for the last time.
        if (load(&wire::RingHeader::client_asleep) != 0) wake_all();
    }
    // All: a thread of an earlier connection, which has not yet seen its end, may wait here too.
    void wake_all() { futex(FUTEX_WAKE, std::numeric_limits<int>::max(), nullptr); }
    void sleep_while(RingState state) {
        store(&wire::RingHeader::hypervisor_asleep, 1);
        futex(FUTEX_WAIT, static_cast<std::uint32_t>(state), &kLookInterval);
        store(&wire::RingHeader::hypervisor_asleep, 0);
    }

    // Empty, which no call is, when the host says something impossible.
    [[nodiscard]] Bytes call() const {
        const std::uint32_t size = load(&wire::RingHeader::call_size);
        return {memory_ + wire::kRingCallOffset, size > wire::kRingMaxCall ? 0 : size};
    }
    [[nodiscard]] MutableBytes reply_buffer() {
        return {memory_ + wire::kRingReplyOffset, wire::kRingMaxReply};
    }
    void set_reply_size(std::size_t size) {
        store(&wire::RingHeader::reply_size, static_cast<std::uint32_t>(size));
    }

  private:
    explicit Ring(std::uint8_t* memory) : memory_{memory} {}
    [[nodiscard]] std::uint32_t* word(std::uint32_t wire::RingHeader::* member) const {
        return &(reinterpret_cast<wire::RingHeader*>(memory_)->*member);
    }
    [[nodiscard]] std::uint32_t load(std::uint32_t wire::RingHeader::* member) const {
        return __atomic_load_n(word(member), __ATOMIC_SEQ_CST);
    }
    void store(std::uint32_t wire::RingHeader::* member, std::uint32_t value) {
        __atomic_store_n(word(member), value, __ATOMIC_SEQ_CST);
    }
    void futex(int operation, std::uint32_t value, const timespec* timeout) {
        ::syscall(SYS_futex, word(&wire::RingHeader::state), operation, value, timeout, nullptr, 0);
    }

    std::uint8_t* memory_;
    std::uint32_t connection_ = 0;
};

// The ring that a client hands over with its hello; nullopt: it sent something else.
std::optional<Ring> receive_ring(int socket) {
    wire::RingHello hello{};
    std::vector<Descriptor> descriptors;
    const auto size = receive_with(socket, mutable_bytes_of(hello), descriptors, 1, MSG_WAITALL);
    if (size != sizeof(hello) || hello.magic != wire::kOpMagic ||
        hello.version != wire::kProtocolVersion || hello.size != wire::kRingSize ||
        descriptors.empty()) {
        return std::nullopt;
    }
    return Ring::map(descriptors.front().get());
}

bool hung_up(int socket) {
    pollfd poll_socket{.fd = socket, .events = POLLRDHUP, .revents = 0};
    return ::poll(&poll_socket, 1, 0) != 0;
}

// Waits until the host has put a call there; false: there will be none any more.
bool await_call(Ring& ring, int socket, const std::atomic<bool>& stop) {
    auto spin_until = std::chrono::steady_clock::now() + kSpin;
    while (!stop) {
        const RingState state = ring.look_for_call();
        // It may be the next connection's call.
        if (state == RingState::call) return !ring.was_left();
        if (state == RingState::closed) return false;
        if (std::chrono::steady_clock::now() < spin_until) {
            ::sched_yield();
            continue;
        }
        if (hung_up(socket)) return false;
        ring.sleep_while(state);
    }
    return false;
}

}  // namespace

config::Result<std::unique_ptr<RingServer>> RingServer::listen(const std::filesystem::path& socket,
                                                               mode_t mode, CoreGate& gate) {
    auto listener = listen_at(socket, mode);
    if (!listener) return std::unexpected{listener.error()};
    return std::unique_ptr<RingServer>{new RingServer{socket, std::move(*listener), gate}};
}

RingServer::RingServer(std::filesystem::path path, Descriptor listener, CoreGate& gate)
    : path_{std::move(path)}, listener_{std::move(listener)}, gate_{gate} {
    acceptor_ = std::thread{[this] { accept_all(); }};
}

RingServer::~RingServer() {
    stop_ = true;
    acceptor_.join();
    for (const auto& worker : workers_)
        worker->thread.join();
    ::unlink(path_.c_str());
}

void RingServer::accept_all() {
    while (!stop_) {
        pollfd poll_listener{.fd = listener_.get(), .events = POLLIN, .revents = 0};
        ::poll(&poll_listener, 1, kLookIntervalMs);
        drop_finished();
        Descriptor socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (!socket) {
            // Out of descriptors: the listener stays readable, and a turn without a pause would
            // take a processor for itself.
            if (errno != EAGAIN && errno != ECONNABORTED) ::poll(nullptr, 0, kLookIntervalMs);
            continue;
        }
        if (workers_.size() >= kMaxConnections) {
            spdlog::warn("a connection was refused: {} are open", workers_.size());
            continue;
        }
        auto worker = std::make_unique<Worker>();
        worker->thread =
            std::thread{[this, &finished = worker->finished, client = std::move(socket)]() mutable {
                serve(std::move(client));
                finished = true;
            }};
        workers_.push_back(std::move(worker));
    }
}

void RingServer::drop_finished() {
    std::erase_if(workers_, [](const std::unique_ptr<Worker>& worker) {
        if (!worker->finished) return false;
        worker->thread.join();
        return true;
    });
}

void RingServer::serve(Descriptor socket) {
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kHelloTimeout, sizeof(kHelloTimeout));
    std::optional<Ring> ring = receive_ring(socket.get());
    const wire::RingHelloReply reply{
        .magic = wire::kOpMagic,
        .status = static_cast<std::uint32_t>(ring ? wire::Status::ok : wire::Status::malformed)};
    if (::send(socket.get(), &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply) || !ring) return;

    while (await_call(*ring, socket.get(), stop_)) {
        const MutableBytes buffer = ring->reply_buffer();
        const auto [size, status] = gate_.sgm_op(ring->call(), buffer);
        if (status != wire::Status::ok) spdlog::warn("refused: {}", wire::text(status));
        if (ring->was_left()) break;
        ring->set_reply_size(size);
        ring->set_reply();
    }
    ring->wake_all();  // the call that woke this thread may be for another
}

}  // namespace sgm::qemu
