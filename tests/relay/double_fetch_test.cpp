// SPDX-License-Identifier: MIT
// The host changes the shared ring while the enclave and the hypervisor read it. The enclave's end
// is the real one (ids/enclave_environment.cpp); this file gives it untrusted memory that changes
// under its hands: in one test at every single access, in the other from a thread of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <stop_token>
#include <thread>

#include "crypto/wide_aes.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "ids/enclave_environment.hpp"
#include "ids/owner_channel.hpp"
#include "ids/registration.hpp"
#include "ids/session.hpp"
#include "ids/testing/world.hpp"
#include "sgx/enclave/enclu.hpp"
#include "sgx/enclave/ocall.hpp"
#include "sgx/enclave/runtime.hpp"

namespace sgm::relay {
namespace {

// What happens around an access of the enclave to untrusted memory.
struct Hooks {
    std::function<void()> before_access = [] {};
    std::function<void()> after_release = [] {};  // it has set the ring's state
    std::function<bool()> wake = [] { return true; };
};
Hooks hooks;

}  // namespace
}  // namespace sgm::relay

namespace sgm::enclave {

std::optional<Outside> Outside::at(std::uint64_t address, std::uint64_t size, std::uint64_t) {
    return Outside{address, size};
}

std::uint8_t* Outside::checked(std::uint64_t offset, std::uint64_t size) const {
    if (offset > size_ || size > size_ - offset) std::abort();
    relay::hooks.before_access();
    return reinterpret_cast<std::uint8_t*>(address_ + offset);
}

void Outside::copy_in(std::uint64_t offset, MutableBytes to) const {
    if (!to.empty()) std::memcpy(to.data(), checked(offset, to.size()), to.size());
}

void Outside::copy_out(std::uint64_t offset, Bytes from) const {
    if (!from.empty()) std::memcpy(checked(offset, from.size()), from.data(), from.size());
}

std::uint32_t Outside::load_acquire(std::uint64_t offset) const {
    return __atomic_load_n(reinterpret_cast<std::uint32_t*>(checked(offset, 4)), __ATOMIC_ACQUIRE);
}

void Outside::store_release(std::uint64_t offset, std::uint32_t value) const {
    __atomic_store_n(reinterpret_cast<std::uint32_t*>(checked(offset, 4)), value, __ATOMIC_RELEASE);
    relay::hooks.after_release();
}

std::expected<void, OcallError> ocall_hypervisor() {
    if (relay::hooks.wake()) return {};
    return std::unexpected(OcallError::unreachable);
}
// The ring needs none of these.
std::expected<void, OcallError> send(wire::Peer, Bytes) {
    std::abort();
}
std::expected<std::size_t, OcallError> receive(wire::Peer, std::uint64_t, MutableBytes) {
    std::abort();
}
std::expected<void, OcallError> wait(std::uint64_t) {
    std::abort();
}
sgx::Report create_report(const sgx::TargetInfo&, const sgx::ReportData&) {
    std::abort();
}
std::uint64_t xfrm() {
    std::abort();
}

SealKeys::Versions EgetkeySealKeys::versions() {
    std::abort();
}
std::expected<void, sgx::KeyError> EgetkeySealKeys::get(SealTo, const Versions&,
                                                        const std::array<std::uint8_t, 32>&,
                                                        std::span<std::uint8_t, 16>) {
    std::abort();
}
bool memory_is_short() {
    std::abort();
}
void set_last_words(void (*)(void*), void*) {
    std::abort();
}

}  // namespace sgm::enclave

void sgm::crypto::use_wide_aes() {
    std::abort();
}

namespace sgm::relay {
namespace {

using hypervisor::testing::BatchBuilder;
using ids::EnvironmentError;
using ids::testing::Message;
using ids::testing::World;
using wire::RingState;

// Shared memory and the hypervisor at its other end.
class SharedRing final {
  public:
    explicit SharedRing(World& world) : world_{world} {}

    [[nodiscard]] enclave::Outside outside() {
        return *enclave::Outside::at(reinterpret_cast<std::uint64_t>(memory_.data()),
                                     memory_.size());
    }
    [[nodiscard]] MutableBytes memory() { return memory_; }
    [[nodiscard]] std::uint32_t& word(std::size_t offset) {
        return *reinterpret_cast<std::uint32_t*>(&memory_[offset]);
    }
    [[nodiscard]] std::uint32_t load(std::size_t offset) {
        return __atomic_load_n(&word(offset), __ATOMIC_SEQ_CST);
    }
    void store(std::size_t offset, std::uint32_t value) {
        __atomic_store_n(&word(offset), value, __ATOMIC_SEQ_CST);
    }

    // As the ring server does it: sizes read once, the call taken from where it lies.
    void serve_one() {
        if (load(offsetof(wire::RingHeader, state)) != static_cast<std::uint32_t>(RingState::call))
            return;
        const std::uint32_t size = load(offsetof(wire::RingHeader, call_size));
        const Bytes call =
            Bytes{memory_}.subspan(wire::kRingCallOffset, size > wire::kRingMaxCall ? 0 : size);
        const std::size_t replied = world_.core->sgm_op(
            call, memory().subspan(wire::kRingReplyOffset, wire::kRingMaxReply));
        store(offsetof(wire::RingHeader, reply_size), static_cast<std::uint32_t>(replied));
        store(offsetof(wire::RingHeader, state), static_cast<std::uint32_t>(RingState::reply));
    }

  private:
    World& world_;
    std::vector<std::uint8_t> memory_ = std::vector<std::uint8_t>(wire::kRingSize);
};

// The world's other parties, and its hypervisor at the far end of a ring.
class RingEnvironment final : public ids::Environment {
  public:
    RingEnvironment(World& world, SharedRing& ring) : world_{world}, ring_{ring.outside()} {}

    std::expected<std::size_t, EnvironmentError> call_hypervisor(Bytes call,
                                                                 MutableBytes reply) override {
        return ring_.call(call, reply);
    }
    std::expected<void, EnvironmentError> send(wire::Peer peer, Bytes message) override {
        return world_.send(peer, message);
    }
    std::expected<std::size_t, EnvironmentError> receive(wire::Peer peer, std::uint64_t wait_ns,
                                                         MutableBytes into) override {
        return world_.receive(peer, wait_ns, into);
    }
    std::expected<void, EnvironmentError> wait(std::uint64_t wait_ns) override {
        return world_.wait(wait_ns);
    }
    std::expected<std::array<std::uint8_t, 432>, EnvironmentError> report(
        const std::array<std::uint8_t, 64>& report_data) override {
        return world_.report(report_data);
    }
    enclave::SealKeys& seal_keys() override { return world_.seal_keys(); }

  private:
    World& world_;
    ids::Ring ring_;
};

class DoubleFetch : public ::testing::Test {
  protected:
    DoubleFetch() {
        world.guest.write(
            0x1000, Bytes{reinterpret_cast<const std::uint8_t*>(kPlain.data()), kPlain.size()});
        serve_honestly();
    }
    ~DoubleFetch() override { hooks = {}; }

    // The hypervisor answers in the moment in which it is asked.
    void serve_honestly() {
        hooks = {};
        hooks.after_release = [this] { ring.serve_one(); };
    }
    std::unique_ptr<ids::Session> open() {
        auto registered = ids::register_ids(environment, world.authority.public_key(),
                                            world.domain(), keys.public_keys());
        EXPECT_TRUE(registered.has_value()) << ids::describe(registered.error());
        return registered ? std::move(registered->session) : nullptr;
    }
    // Whether it is an error or the honest answer.
    static bool is_sound(const std::expected<Bytes, guest::TransportError>& answer) {
        if (!answer) return true;
        const auto parts = hypervisor::testing::take_apart(*answer);
        return parts && parts->ops.size() == 1 &&
               std::ranges::equal(parts->ops[0].after<wire::ReadResult>(), kPlain);
    }

    static constexpr std::string_view kPlain = "what only the enclave may see";
    const Message batch =
        BatchBuilder{}.read(0, wire::Paging::physical, 0x1000, kPlain.size()).bytes();
    World world;
    SharedRing ring{world};
    RingEnvironment environment{world, ring};
    const ids::IdsKeyPairs keys = ids::IdsKeyPairs::generate().value();
};

// Where a change may matter: the ring's words, and each part of a call and of a reply.
constexpr std::size_t kSealed = sizeof(wire::OpHeader) + sizeof(wire::SealedHeader);
constexpr std::array<std::size_t, 5> kParts = {0, 8, sizeof(wire::OpHeader) + 16, 40, kSealed + 4};

std::vector<std::function<void(SharedRing&)>> changes() {
    std::vector<std::function<void(SharedRing&)>> all;
    for (const std::size_t offset :
         {offsetof(wire::RingHeader, state), offsetof(wire::RingHeader, hypervisor_asleep),
          offsetof(wire::RingHeader, call_size), offsetof(wire::RingHeader, reply_size)}) {
        for (const std::uint32_t value :
             {0u, 1u, 2u, 3u, 15u, 64u, wire::kRingMaxReply, wire::kRingMaxReply + 1, 0xffff'ffffu})
            all.emplace_back([=](SharedRing& ring) { ring.store(offset, value); });
    }
    for (const std::size_t start : {wire::kRingCallOffset, wire::kRingReplyOffset}) {
        for (const std::size_t part : kParts)
            all.emplace_back([=](SharedRing& ring) { ring.memory()[start + part] ^= 1; });
    }
    return all;
}

TEST_F(DoubleFetch, memory_that_changes_at_any_access_of_the_enclave_gains_nothing) {
    std::size_t accesses = 0;
    {
        const auto session = open();
        hooks.before_access = [&] { ++accesses; };
        ASSERT_TRUE(session->exchange(batch).has_value());
        serve_honestly();
    }
    ASSERT_GE(accesses, 6u);
    std::size_t refused = 0;
    for (const auto& change : changes()) {
        // Once at access `at`, or from there on at every one.
        for (std::size_t at = 0; at < 2 * accesses; ++at) {
            const bool goes_on = at >= accesses;
            auto session = open();
            ASSERT_NE(session, nullptr);
            std::size_t now = 0;
            hooks.before_access = [&] {
                if (now == at % accesses || (goes_on && now > at % accesses)) change(ring);
                ++now;
            };
            const auto answer = session->exchange(batch);
            ASSERT_TRUE(is_sound(answer)) << "access " << at;
            refused += answer ? 0u : 1u;
            serve_honestly();
        }
    }
    EXPECT_GT(refused, accesses) << "this test changes nothing that matters";
    const auto session = open();
    const auto answer = session->exchange(batch);
    EXPECT_TRUE(answer.has_value() && is_sound(answer));
}

TEST_F(DoubleFetch, a_thread_that_rewrites_the_ring_gains_nothing_at_either_end) {
    constexpr int kRounds = 500;
    std::atomic<bool> attack = false;
    std::atomic<bool> at_it = false;
    // An attacked state may leave nobody to answer: a host may always refuse to. Otherwise there is
    // an answer, however busy the machine is.
    hooks = {};
    hooks.wake = [&] {
        const auto waits = [&] {
            return ring.load(offsetof(wire::RingHeader, state)) ==
                   static_cast<std::uint32_t>(RingState::call);
        };
        for (int i = 0; waits() && (!attack || i < 100); ++i)
            std::this_thread::yield();
        return true;
    };
    const std::jthread hypervisor{[&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            ring.serve_one();
            std::this_thread::yield();
        }
    }};
    const std::jthread host{[&](const std::stop_token& stop) {
        for (std::size_t i = 0; !stop.stop_requested(); ++i) {
            at_it = true;
            if (attack) {
                const auto flip = [&](std::size_t at) {
                    __atomic_fetch_xor(&ring.memory()[at], std::uint8_t{1}, __ATOMIC_RELAXED);
                };
                flip(wire::kRingCallOffset + i % 120);
                flip(wire::kRingReplyOffset + i % 160);
                if (i % 64 == 0) flip(offsetof(wire::RingHeader, reply_size) + i / 64 % 4);
                if (i % 64 == 1) flip(offsetof(wire::RingHeader, call_size) + i / 64 % 4);
            }
            at_it = false;
            std::this_thread::yield();
        }
    }};
    int answered = 0;
    for (int i = 0; i < kRounds; ++i) {
        std::unique_ptr<ids::Session> session;
        // Nothing is changed now, but the answer to an attacked call may still come.
        for (int attempt = 0; session == nullptr && attempt < 10; ++attempt) {
            auto registered = ids::register_ids(environment, world.authority.public_key(),
                                                world.domain(), keys.public_keys());
            if (registered) session = std::move(registered->session);
        }
        ASSERT_NE(session, nullptr);
        attack = true;
        const auto answer = session->exchange(batch);
        const bool sound = is_sound(answer);
        answered += answer ? 1 : 0;
        attack = false;
        while (at_it)
            std::this_thread::yield();
        ASSERT_TRUE(sound) << "round " << i;
    }
    RecordProperty("answered", answered);
}

}  // namespace
}  // namespace sgm::relay
