// SPDX-License-Identifier: MIT
// The host between the enclave and everybody else does what it can. What it can do to a
// conversation with the hypervisor, message by message, is tests/relay.
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

TEST_F(HostileHost, keys_that_are_used_up_end_the_session_before_anything_is_sealed) {
    const hypervisor::SessionName name{.id = 1ull << 40, .domain = world.domain(), .epoch = 1};
    const std::uint64_t enough = wire::kMaxSessionBytes - wire::kMaxAnswerSize;
    Session worn{world, name, {}, {}, hypervisor::KeyUsage{enough - read_secret().size() + 1}};
    EXPECT_TRUE(worn.is_worn());
    const std::size_t carried = world.carried.size();
    EXPECT_FALSE(worn.exchange(read_secret()).has_value());
    EXPECT_EQ(world.carried.size(), carried);
    EXPECT_EQ(worn.end(), SessionEnd::ended);
    EXPECT_EQ(worn.end_status(), wire::Status::exhausted);
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
