// SPDX-License-Identifier: MIT
#include "ids/owner_message.hpp"

#include <gtest/gtest.h>

#include <random>

#include "crypto/hpke.hpp"

namespace sgm::ids {
namespace {

using MessageBytes = std::vector<std::uint8_t>;

// Not in the first byte: X25519 ignores its low bits.
std::array<std::uint8_t, 32> seed(std::uint8_t value) {
    std::array<std::uint8_t, 32> bytes{};
    bytes[1] = value;
    return bytes;
}

class OwnerMessage : public testing::Test {
  protected:
    [[nodiscard]] MessageBytes sealed(Bytes payload,
                                      wire::OwnerKind kind = wire::OwnerKind::finding) const {
        return seal_owner_message(kAddress, kind, payload, sender_, receiver_.public_key()).value();
    }

    // What a sender who may break any rule can make: `plaintext` sealed to the receiver.
    [[nodiscard]] MessageBytes sealed_by_hand(wire::OwnerHeader header, Bytes plaintext) const {
        MessageBytes ciphertext(plaintext.size() + crypto::kHpkeOverhead);
        header.size = static_cast<std::uint32_t>(ciphertext.size());
        header.encapsulation = crypto::hpke_seal(receiver_.public_key(), wire::kOwnerLabel,
                                                 bytes_of(header), plaintext, ciphertext)
                                   .value();
        MessageBytes message(sizeof(header) + ciphertext.size());
        Writer writer{message};
        writer.put(header);
        writer.put_bytes(ciphertext);
        return message;
    }

    static constexpr wire::OwnerHeader kAddress{.magic = 0,
                                                .version = 0,
                                                .domain = {1, 2, 3},
                                                .boot = {4, 5, 6},
                                                .sequence = 0x1122334455667788,
                                                .encapsulation = {},
                                                .size = 0,
                                                .reserved = 0};
    const crypto::SigningKeyPair sender_ = crypto::SigningKeyPair::from_seed(seed(1));
    const crypto::SealingKeyPair receiver_ = crypto::SealingKeyPair::from_private(seed(2));
};

TEST_F(OwnerMessage, opens_for_its_receiver_and_verifies_for_its_sender) {
    const MessageBytes payload{10, 20, 30};
    const auto opened = open_owner_message(sealed(payload), receiver_);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->kind, wire::OwnerKind::finding);
    EXPECT_EQ(opened->payload, payload);
    EXPECT_EQ(opened->header.domain, kAddress.domain);
    EXPECT_EQ(opened->header.boot, kAddress.boot);
    EXPECT_EQ(opened->header.sequence, kAddress.sequence);
    EXPECT_TRUE(verify_sender(*opened, sender_.public_key()));
}

TEST_F(OwnerMessage, an_empty_payload_and_the_largest_one_are_messages_too) {
    EXPECT_TRUE(open_owner_message(sealed({}), receiver_)->payload.empty());
    const MessageBytes largest(kMaxMessagePayload, 7);
    const auto message = sealed(largest);
    EXPECT_EQ(message.size(), wire::kMaxOwnerMessage);
    EXPECT_EQ(open_owner_message(message, receiver_)->payload, largest);
    const MessageBytes larger(kMaxMessagePayload + 1);
    EXPECT_EQ(seal_owner_message(kAddress, wire::OwnerKind::answer, larger, sender_,
                                 receiver_.public_key())
                  .error(),
              MessageError::bad_size);
}

TEST_F(OwnerMessage, does_not_open_for_another_receiver) {
    const auto other = crypto::SealingKeyPair::from_private(seed(3));
    EXPECT_EQ(open_owner_message(sealed({}), other).error(), MessageError::not_for_us);
}

TEST_F(OwnerMessage, does_not_verify_for_another_sender) {
    const auto other = crypto::SigningKeyPair::from_seed(seed(3));
    const auto opened = open_owner_message(sealed({}), receiver_);
    EXPECT_EQ(verify_sender(*opened, other.public_key()).error(), MessageError::not_the_sender);
}

TEST_F(OwnerMessage, every_flipped_bit_is_refused) {
    const MessageBytes payload{1, 2, 3, 4};
    MessageBytes message = sealed(payload);
    for (std::size_t bit = 0; bit < message.size() * 8; ++bit) {
        const auto mask = static_cast<std::uint8_t>(1u << bit % 8);
        message[bit / 8] ^= mask;
        EXPECT_FALSE(open_owner_message(message, receiver_)) << "bit " << bit;
        message[bit / 8] ^= mask;
    }
    EXPECT_TRUE(open_owner_message(message, receiver_));
}

TEST_F(OwnerMessage, every_length_but_its_own_is_refused) {
    MessageBytes message = sealed(MessageBytes{1, 2, 3, 4});
    for (std::size_t size = 0; size < message.size(); ++size) {
        EXPECT_EQ(open_owner_message(Bytes{message}.first(size), receiver_).error(),
                  MessageError::bad_size);
    }
    message.push_back(0);
    EXPECT_EQ(open_owner_message(message, receiver_).error(), MessageError::bad_size);
    message.resize(wire::kMaxOwnerMessage + 1);
    EXPECT_EQ(open_owner_message(message, receiver_).error(), MessageError::bad_size);
}

TEST_F(OwnerMessage, random_bytes_are_refused_even_behind_a_sound_header) {
    std::mt19937 random{1};
    for (int i = 0; i < 2000; ++i) {
        MessageBytes message(random() % 400);
        for (auto& byte : message)
            byte = static_cast<std::uint8_t>(random());
        EXPECT_FALSE(open_owner_message(message, receiver_));
        if (message.size() < sizeof(wire::OwnerHeader)) continue;
        wire::OwnerHeader header{};
        header.magic = wire::kOwnerMagic;
        header.version = 1;
        header.size = static_cast<std::uint32_t>(message.size() - sizeof(header));
        Writer{message}.put(header);
        EXPECT_FALSE(open_owner_message(message, receiver_));
    }
}

TEST_F(OwnerMessage, a_sealed_message_that_is_malformed_inside_is_refused) {
    const wire::OwnerHeader header{.magic = wire::kOwnerMagic,
                                   .version = 1,
                                   .domain = {},
                                   .boot = {},
                                   .sequence = 1,
                                   .encapsulation = {},
                                   .size = 0,
                                   .reserved = 0};
    const auto plaintext = [](wire::OwnerBody body, std::size_t payload_size) {
        MessageBytes bytes(sizeof(wire::Signature) + sizeof(body) + payload_size);
        std::memcpy(bytes.data() + sizeof(wire::Signature), &body, sizeof(body));
        return bytes;
    };
    const auto refused = [&](const MessageBytes& bytes) {
        const auto opened = open_owner_message(sealed_by_hand(header, bytes), receiver_);
        return !opened && opened.error() == MessageError::bad_body;
    };
    const auto heartbeat = wire::OwnerKind::heartbeat;
    EXPECT_FALSE(refused(plaintext({.kind = heartbeat, .size = 3}, 3)));
    EXPECT_TRUE(refused(plaintext({.kind = heartbeat, .size = 4}, 3)));
    EXPECT_TRUE(refused(plaintext({.kind = heartbeat, .size = 2}, 3)));
    EXPECT_TRUE(refused(plaintext({.kind = heartbeat, .size = 0xffffffff}, 3)));
    for (const std::uint32_t kind : {0u, 4u, 15u, 19u, 0xffffffffu}) {
        EXPECT_TRUE(refused(plaintext({.kind = wire::OwnerKind{kind}, .size = 3}, 3))) << kind;
    }
}

TEST_F(OwnerMessage, a_sound_seal_with_a_signature_over_something_else_does_not_verify) {
    auto opened = open_owner_message(sealed(MessageBytes{1}), receiver_).value();
    const auto refused = [&] { return !verify_sender(opened, sender_.public_key()); };
    EXPECT_FALSE(refused());
    opened.kind = wire::OwnerKind::answer;
    EXPECT_TRUE(refused());
    opened.kind = wire::OwnerKind::finding;
    opened.header.sequence += 1;
    EXPECT_TRUE(refused());
    opened.header.sequence -= 1;
    opened.header.boot[0] ^= 1;
    EXPECT_TRUE(refused());
    opened.header.boot[0] ^= 1;
    opened.header.domain[0] ^= 1;
    EXPECT_TRUE(refused());
    opened.header.domain[0] ^= 1;
    opened.payload[0] ^= 1;
    EXPECT_TRUE(refused());
    opened.payload[0] ^= 1;
    EXPECT_FALSE(refused());
}

TEST_F(OwnerMessage, nothing_is_sealed_to_a_key_that_anyone_could_open) {
    EXPECT_EQ(
        seal_owner_message(kAddress, wire::OwnerKind::finding, {}, sender_, wire::SealingKey{})
            .error(),
        MessageError::not_for_us);
}

}  // namespace
}  // namespace sgm::ids
