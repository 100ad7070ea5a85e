// SPDX-License-Identifier: MIT
// The host between the enclave and everybody else does what it can.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "ids/owner_channel.hpp"
#include "ids/registration.hpp"
#include "ids/session.hpp"
#include "ids/testing/world.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::ids {
namespace {

using hypervisor::testing::BatchBuilder;
using testing::Message;
using testing::World;

constexpr std::string_view kSecretName = "a-name-nobody-may-see";
constexpr std::uint64_t kSecretAddress = 0xffff'8881'2345'6000;
constexpr std::size_t kSealed = sizeof(wire::OpHeader) + sizeof(wire::SealedHeader);

class HostileHost : public ::testing::Test {
  protected:
    HostileHost() {
        world.guest.map_new(kSecretAddress, kSecretName.size());
        world.guest.write_virtual(
            kSecretAddress,
            {reinterpret_cast<const std::uint8_t*>(kSecretName.data()), kSecretName.size()});
    }

    std::expected<Registered, RegistrationFailure> try_to_register() {
        return register_ids(world, world.authority.public_key(), world.domain(),
                            keys.public_keys());
    }
    std::unique_ptr<Session> session() {
        auto registered = try_to_register();
        EXPECT_TRUE(registered.has_value()) << describe(registered.error());
        return std::move(registered->session);
    }
    Message read_secret() {
        return BatchBuilder{}
            .read(world.guest.root(), world.guest.paging(), kSecretAddress, kSecretName.size())
            .bytes();
    }
    void expect_tampering_is_refused(std::string_view what) {
        auto victim = session();
        const auto answer = victim->exchange(read_secret());
        ASSERT_FALSE(answer.has_value()) << what;
        EXPECT_EQ(answer.error(), guest::TransportError::refused);
        EXPECT_EQ(victim->end(), SessionEnd::tampered);
        // Closed for good: an honest answer later is not listened to.
        world.on_reply = [](Message&) {};
        EXPECT_FALSE(victim->exchange(read_secret()).has_value());
    }
    bool was_carried(std::string_view text) const {
        return std::ranges::any_of(world.carried, [text](const Message& message) {
            return !std::ranges::search(message, text).empty();
        });
    }

    World world;
    IdsKeyPairs keys = IdsKeyPairs::generate().value();
};

TEST_F(HostileHost, an_honest_host_carries_a_request_and_its_answer) {
    const auto open = session();
    const auto answer = open->exchange(read_secret());
    ASSERT_TRUE(answer.has_value());
    EXPECT_FALSE(std::ranges::search(*answer, kSecretName).empty());
}

TEST_F(HostileHost, nothing_of_the_guest_or_of_an_address_is_in_what_the_host_carries) {
    ASSERT_TRUE(session()->exchange(read_secret()).has_value());
    EXPECT_FALSE(was_carried(kSecretName));
    const std::uint64_t address = kSecretAddress;
    EXPECT_FALSE(was_carried({reinterpret_cast<const char*>(&address), sizeof(address)}));
}

TEST_F(HostileHost, every_flipped_bit_of_an_answer_is_refused_and_ends_the_session) {
    ASSERT_TRUE(session()->exchange(read_secret()).has_value());
    const std::size_t bits = world.carried.back().size() * 8;
    for (std::size_t bit = 0; bit < bits; ++bit) {
        auto victim = session();
        world.on_reply = [bit](Message& reply) {
            reply[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
        };
        EXPECT_FALSE(victim->exchange(read_secret()).has_value()) << "bit " << bit;
        EXPECT_TRUE(victim->end().has_value()) << "bit " << bit;
        if (bit >= sizeof(wire::OpHeader) * 8) {
            EXPECT_EQ(victim->end(), SessionEnd::tampered) << "bit " << bit;
        }
        world.on_reply = [](Message&) {};
    }
}

TEST_F(HostileHost, every_flipped_bit_of_a_request_ends_the_session_and_reads_nothing) {
    auto first = session();
    ASSERT_TRUE(first->exchange(read_secret()).has_value());
    const std::size_t bits = (kSealed + read_secret().size()) * 8;
    for (std::size_t bit = 0; bit < bits; ++bit) {
        auto victim = session();
        const std::uint64_t reads = world.guest.reads;
        world.on_call = [bit](Message& call) {
            call[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
        };
        EXPECT_FALSE(victim->exchange(read_secret()).has_value()) << "bit " << bit;
        EXPECT_TRUE(victim->end().has_value()) << "bit " << bit;
        EXPECT_EQ(world.guest.reads, reads) << "bit " << bit;
        world.on_call = [](Message&) {};
    }
}

TEST_F(HostileHost, a_replayed_answer_is_refused) {
    Message old;
    auto victim = session();
    world.on_reply = [&old](Message& reply) { old = reply; };
    ASSERT_TRUE(victim->exchange(read_secret()).has_value());
    world.on_reply = [&old](Message& reply) { reply = old; };
    EXPECT_FALSE(victim->exchange(read_secret()).has_value());
    EXPECT_EQ(victim->end(), SessionEnd::tampered);
}

TEST_F(HostileHost, a_replayed_request_is_not_answered_and_ends_the_session) {
    Message old;
    auto victim = session();
    world.on_call = [&old](Message& call) { old = call; };
    ASSERT_TRUE(victim->exchange(read_secret()).has_value());
    const std::uint64_t reads = world.guest.reads;
    Message reply(wire::kMaxAnswerSize + kSealed);
    reply.resize(world.core->sgm_op(old, reply));
    const auto header = Reader{reply}.take<wire::OpHeader>();
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->status, static_cast<std::uint32_t>(wire::Status::refused_counter));
    EXPECT_EQ(world.guest.reads, reads);
    world.on_call = [](Message&) {};
    EXPECT_FALSE(victim->exchange(read_secret()).has_value());
    EXPECT_EQ(victim->end(), SessionEnd::ended);
}

TEST_F(HostileHost, a_request_reflected_as_its_own_answer_is_refused) {
    Message call;
    world.on_call = [&call](Message& sent) { call = sent; };
    auto victim = session();
    world.on_reply = [&call](Message& reply) { reply = call; };
    EXPECT_FALSE(victim->exchange(read_secret()).has_value());
    EXPECT_EQ(victim->end(), SessionEnd::tampered);
}

TEST_F(HostileHost, an_answer_of_another_session_is_refused) {
    auto other = session();
    Message others_answer;
    world.on_reply = [&others_answer](Message& reply) { others_answer = reply; };
    ASSERT_TRUE(other->exchange(read_secret()).has_value());
    world.on_reply = [](Message&) {};
    auto victim = session();
    world.on_reply = [&others_answer](Message& reply) { reply = others_answer; };
    EXPECT_FALSE(victim->exchange(read_secret()).has_value());
}

TEST_F(HostileHost, answers_cut_short_or_made_longer_are_refused) {
    ASSERT_TRUE(session()->exchange(read_secret()).has_value());
    const std::size_t size = world.carried.back().size();
    for (std::size_t cut = 0; cut < size; ++cut) {
        auto victim = session();
        world.on_reply = [cut](Message& reply) { reply.resize(cut); };
        EXPECT_FALSE(victim->exchange(read_secret()).has_value()) << cut;
        EXPECT_EQ(victim->end(), SessionEnd::tampered) << cut;
        world.on_reply = [](Message&) {};
    }
    world.on_reply = [size](Message& reply) {
        if (reply.size() == size) reply.push_back(0);
    };
    expect_tampering_is_refused("one byte more");
}

// ---------------------------------------------------------------------------------------------
// Registration

TEST_F(HostileHost, a_host_that_brings_its_own_hypervisor_gets_no_secret_sealed_to_it_approved) {
    const auto false_key = crypto::SealingKeyPair::generate().value();
    world.on_reply = [&false_key](Message& reply) {
        std::ranges::copy(false_key.public_key(), reply.begin() + sizeof(wire::OpHeader));
    };
    const auto registered = try_to_register();
    ASSERT_FALSE(registered.has_value());
    EXPECT_EQ(registered.error().error, RegistrationError::refused_by_authority);
    EXPECT_EQ(describe(registered.error()),
              "the authority refused this IDS: the hypervisor's key is not enrolled");
}

TEST_F(HostileHost, a_low_order_hypervisor_key_is_refused) {
    world.on_reply = [](Message& reply) {
        std::fill_n(reply.begin() + sizeof(wire::OpHeader), 32, std::uint8_t{0});
    };
    const auto registered = try_to_register();
    ASSERT_FALSE(registered.has_value());
    EXPECT_EQ(registered.error().error, RegistrationError::bad_hypervisor_key);
}

TEST_F(HostileHost, an_attestation_result_signed_by_another_authority_is_not_believed) {
    world.false_authority = crypto::SigningKeyPair::generate().value();
    const auto registered = try_to_register();
    ASSERT_FALSE(registered.has_value());
    EXPECT_EQ(registered.error().error, RegistrationError::bad_attestation);
}

TEST_F(HostileHost, an_attestation_result_about_anything_else_is_not_believed) {
    using Change = std::function<void(wire::AttestationResult&)>;
    const std::vector<std::pair<const char*, Change>> changes = {
        {"label", [](auto& result) { result.label[0] ^= 1; }},
        {"nonce", [](auto& result) { result.registration_nonce[31] ^= 1; }},
        {"secret", [](auto& result) { result.binding_digest[0] ^= 1; }},
        {"VM", [](auto& result) { result.domain[0] ^= 1; }},
        {"hypervisor", [](auto& result) { result.hypervisor_key_id[0] ^= 1; }},
        {"signing key", [](auto& result) { result.ids.signing[0] ^= 1; }},
        {"sealing key", [](auto& result) { result.ids.sealing[0] ^= 1; }},
    };
    for (const auto& [what, change] : changes) {
        world.on_attestation = change;
        const auto registered = try_to_register();
        ASSERT_FALSE(registered.has_value()) << what;
        EXPECT_EQ(registered.error().error, RegistrationError::bad_attestation) << what;
    }
}

TEST_F(HostileHost, a_replayed_attestation_result_is_not_believed) {
    std::optional<wire::AttestationResult> old;
    world.on_attestation = [&old](wire::AttestationResult& result) { old = result; };
    ASSERT_TRUE(try_to_register().has_value());
    world.on_attestation = [&old](wire::AttestationResult& result) { result = *old; };
    const auto registered = try_to_register();
    ASSERT_FALSE(registered.has_value());
    EXPECT_EQ(registered.error().error, RegistrationError::bad_attestation);
}

TEST_F(HostileHost, every_flipped_bit_of_a_confirmation_is_refused) {
    const std::size_t bits = (kSealed + sizeof(wire::Confirmation)) * 8;
    for (std::size_t bit = 0; bit < bits; ++bit) {
        world.on_reply = [bit, bits](Message& reply) {
            if (reply.size() * 8 == bits) {
                reply[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
            }
        };
        const auto registered = try_to_register();
        ASSERT_FALSE(registered.has_value()) << "bit " << bit;
        if (bit >= sizeof(wire::OpHeader) * 8) {
            EXPECT_EQ(registered.error().error, RegistrationError::bad_confirmation)
                << "bit " << bit;
        }
    }
}

TEST_F(HostileHost, an_enclave_without_an_authority_registers_nowhere) {
    const auto registered =
        register_ids(world, wire::SigningKey{}, world.domain(), keys.public_keys());
    ASSERT_FALSE(registered.has_value());
    EXPECT_EQ(registered.error().error, RegistrationError::no_authority);
}

TEST_F(HostileHost, the_authoritys_reason_is_handed_on) {
    world.refusal = "MRENCLAVE 00ff is not approved";
    const auto registered = try_to_register();
    ASSERT_FALSE(registered.has_value());
    EXPECT_EQ(describe(registered.error()),
              "the authority refused this IDS: MRENCLAVE 00ff is not approved");
}

}  // namespace
}  // namespace sgm::ids
