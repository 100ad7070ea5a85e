// SPDX-License-Identifier: MIT
#include "tests/hostile/ring_relay.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <deque>
#include <optional>
#include <thread>
#include <vector>

#include "wire/ring.hpp"

namespace sgm::hostile {
namespace {

using wire::RingState;
using Frame = std::vector<std::uint8_t>;

// Whom the relay plays on a ring.
enum class Role { client, hypervisor };

// One ring, mapped. The other side changes it at any time: sizes are copied once and bounded.
class Ring final {
  public:
    Ring(const Descriptor& memory, Role role)
        : role_{role},
          base_{mmap(nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(),
                     0)} {}
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() {
        if (mapped()) munmap(base_, wire::kRingSize);
    }

    [[nodiscard]] bool mapped() const { return base_ != MAP_FAILED; }
    [[nodiscard]] RingState state() const { return RingState{word(header().state).load()}; }

    void set_state(RingState state) {
        word(header().state) = static_cast<std::uint32_t>(state);
        syscall(SYS_futex, &header().state, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
    }

    // Sleeps until the state is no longer `state`, at most 20 ms.
    void wait_while(RingState state) {
        // Each side wakes the other only when it is told that the other sleeps.
        auto asleep =
            word(role_ == Role::hypervisor ? header().hypervisor_asleep : header().client_asleep);
        asleep = 1;
        const timespec limit{0, 20'000'000};
        syscall(SYS_futex, &header().state, FUTEX_WAIT, state, &limit, nullptr, 0);
        asleep = 0;
    }

    [[nodiscard]] std::optional<Frame> call() const {
        return frame(wire::kRingCallOffset, word(header().call_size), wire::kRingMaxCall);
    }
    [[nodiscard]] std::optional<Frame> reply() const {
        return frame(wire::kRingReplyOffset, word(header().reply_size), wire::kRingMaxReply);
    }
    void put_call(Bytes bytes) { put(wire::kRingCallOffset, header().call_size, bytes); }
    void put_reply(Bytes bytes) { put(wire::kRingReplyOffset, header().reply_size, bytes); }

  private:
    [[nodiscard]] wire::RingHeader& header() const {
        return *static_cast<wire::RingHeader*>(base_);
    }
    static std::atomic_ref<std::uint32_t> word(std::uint32_t& value) {
        return std::atomic_ref{value};
    }
    [[nodiscard]] std::uint8_t* at(std::uint32_t offset) const {
        return static_cast<std::uint8_t*>(base_) + offset;
    }

    [[nodiscard]] std::optional<Frame> frame(std::uint32_t offset, std::uint32_t size,
                                             std::uint32_t limit) const {
        if (size > limit) return std::nullopt;
        return Frame(at(offset), at(offset) + size);
    }
    void put(std::uint32_t offset, std::uint32_t& size, Bytes bytes) {
        std::memcpy(at(offset), bytes.data(), bytes.size());
        word(size) = static_cast<std::uint32_t>(bytes.size());
    }

    Role role_;
    void* base_;
};

Descriptor make_ring_memory() {
    Descriptor memory{memfd_create("sgm-hostile-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!memory || ftruncate(memory.get(), wire::kRingSize) != 0 ||
        fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return {};
    return memory;
}

// Room for one descriptor beside a message (cmsg(3)).
union Control {
    cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

template <typename Message>
msghdr message_with_descriptor(iovec& data, Message& message, Control& control) {
    data = {&message, sizeof message};
    msghdr whole{};
    whole.msg_iov = &data;
    whole.msg_iovlen = 1;
    whole.msg_control = &control;
    whole.msg_controllen = sizeof control;
    return whole;
}

Descriptor receive_hello(const Descriptor& client, wire::RingHello& hello) {
    iovec data;
    Control control{};
    msghdr whole = message_with_descriptor(data, hello, control);
    if (recvmsg(client.get(), &whole, MSG_CMSG_CLOEXEC) != sizeof hello) return {};
    const cmsghdr* header = CMSG_FIRSTHDR(&whole);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return {};
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return Descriptor{fd};
}

bool send_hello(const Descriptor& hypervisor, wire::RingHello hello, const Descriptor& memory) {
    iovec data;
    Control control{};
    msghdr whole = message_with_descriptor(data, hello, control);
    cmsghdr* header = CMSG_FIRSTHDR(&whole);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = memory.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(hypervisor.get(), &whole, MSG_NOSIGNAL) == sizeof hello;
}

// One client of the hypervisor, and what the host does to its calls.
class Session final {
  public:
    Session(Descriptor client, Descriptor hypervisor, const Descriptor& client_memory,
            const Descriptor& hypervisor_memory, Mischief& mischief, Capture& capture)
        : client_{std::move(client)},
          hypervisor_{std::move(hypervisor)},
          client_ring_{client_memory, Role::hypervisor},
          hypervisor_ring_{hypervisor_memory, Role::client},
          mischief_{mischief},
          capture_{capture},
          channel_{capture.new_channel()} {}

    void run() {
        if (!client_ring_.mapped() || !hypervisor_ring_.mapped()) return;
        while (await(client_ring_, RingState::call) && !(mischief_.dropping && !await_pass())) {
            const std::optional<Frame> call = client_ring_.call();
            if (!call) break;
            capture_.record(channel_, Way::from_client, *call);
            std::optional<Frame> reply = answer(*call);
            if (!reply) break;
            capture_.record(channel_, Way::to_client, *reply);
            client_ring_.put_reply(*reply);
            client_ring_.set_state(RingState::reply);
        }
        // Closed connections end the session. The ring is the client's: it may be in use already
        // with its next connection.
    }

  private:
    [[nodiscard]] std::optional<Frame> answer(const Frame& call) {
        const std::optional<wire::Command> command = command_of(call);
        // Old answers of the same session are the harder ones to tell from new ones.
        if (command == wire::Command::open) answers_.clear();
        const bool request = command == wire::Command::request;
        if (request && !answers_.empty() && take_one(mischief_.replays_wanted)) {
            ++mischief_.replayed;
            return answers_.front();
        }
        hypervisor_ring_.put_call(call);
        hypervisor_ring_.set_state(RingState::call);
        if (!await(hypervisor_ring_, RingState::reply)) return std::nullopt;
        std::optional<Frame> reply = hypervisor_ring_.reply();
        hypervisor_ring_.set_state(RingState::idle);
        if (!reply) return std::nullopt;

        constexpr std::size_t kCiphertext = sizeof(wire::OpHeader) + sizeof(wire::SealedHeader);
        if (request && reply->size() > kCiphertext) {
            answers_.push_back(*reply);
            if (answers_.size() > kRemembered) answers_.pop_front();
            if (take_one(mischief_.flips_wanted)) {
                (*reply)[(kCiphertext + reply->size()) / 2] ^= 0x10;
                ++mischief_.flipped;
            }
        }
        return reply;
    }

    static std::optional<wire::Command> command_of(const Frame& call) {
        const auto header = Reader{call}.take<wire::OpHeader>();
        if (!header) return std::nullopt;
        return wire::Command{header->command};
    }

    // Whether `ring` came to `wanted`; false when it never will.
    [[nodiscard]] bool await(Ring& ring, RingState wanted) {
        while (true) {
            const RingState state = ring.state();
            if (state == wanted) return true;
            if (state == RingState::closed || gone(client_) || gone(hypervisor_)) return false;
            ring.wait_while(state);
        }
    }

    [[nodiscard]] bool await_pass() {
        while (mischief_.dropping) {
            if (gone(client_) || gone(hypervisor_)) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds{20});
        }
        return true;
    }

    static constexpr std::size_t kRemembered = 8;

    Descriptor client_;
    Descriptor hypervisor_;
    Ring client_ring_;
    Ring hypervisor_ring_;
    Mischief& mischief_;
    Capture& capture_;
    std::uint32_t channel_;
    std::deque<Frame> answers_;  // of this session, oldest first
};

void serve(Descriptor client, const std::string& hypervisor_path, Mischief& mischief,
           Capture& capture) {
    wire::RingHello hello{};
    const Descriptor client_memory = receive_hello(client, hello);
    Descriptor hypervisor = connect_unix(hypervisor_path);
    const Descriptor hypervisor_memory = make_ring_memory();
    if (!client_memory || !hypervisor || !hypervisor_memory) return;
    wire::RingHelloReply reply{};
    if (!send_hello(hypervisor, hello, hypervisor_memory) ||
        !read_all(hypervisor, mutable_bytes_of(reply)) || !write_all(client, bytes_of(reply)))
        return;
    Session{std::move(client), std::move(hypervisor),
            client_memory,     hypervisor_memory,
            mischief,          capture}
        .run();
}

}  // namespace

void relay_rings(Descriptor listener, std::string hypervisor_path, Mischief& mischief,
                 Capture& capture) {
    while (true) {
        std::thread{serve, accept_from(listener), hypervisor_path, std::ref(mischief),
                    std::ref(capture)}
            .detach();
    }
}

}  // namespace sgm::hostile
