// SPDX-License-Identifier: MIT
#include "hypervisor/core/core.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>

#include "crypto/hash.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "wire/status_text.hpp"

namespace sgm::wire {
void PrintTo(Status status, std::ostream* out) {
    *out << '"' << text(status) << '"';
}
}  // namespace sgm::wire

namespace sgm::hypervisor {
namespace {

using testing::BatchBuilder;
using testing::call;
using testing::ClientSession;
using testing::frame;
using testing::Message;
using testing::open_session;
using testing::Registrar;
using testing::Reply;
using testing::SyntheticGuest;
using testing::SyntheticPort;
using wire::Command;
using wire::Status;

constexpr std::uint64_t kMiB = 1ul << 20;
constexpr std::uint64_t kSecond = 1'000'000'000;

crypto::SealingKeyPair hypervisor_keys(std::uint8_t seed = 1) {
    std::array<std::uint8_t, 32> key{};
    key.fill(seed);
    return crypto::SealingKeyPair::from_private(key);
}

crypto::SigningKeyPair authority_keys(std::uint8_t seed = 9) {
    std::array<std::uint8_t, 32> key{};
    key.fill(seed);
    return crypto::SigningKeyPair::from_seed(key);
}

class CoreTest : public ::testing::Test {
  protected:
    CoreTest() {
        guest.write(0x1000,
                    Bytes{reinterpret_cast<const std::uint8_t*>(kPlain.data()), kPlain.size()});
    }
    std::unique_ptr<ClientSession> open() { return open_session(*core, guest.id, authority); }
    Status status_of(Bytes message) { return call(*core, message).status; }
    Status register_with(const Registrar& registrar) {
        return status_of(registrar.signed_by(authority));
    }
    static Message read_batch() {
        return BatchBuilder{}.read(0, wire::Paging::physical, 0x1000, kPlain.size()).bytes();
    }
    Message read_call(ClientSession& session) {
        return session.seal(Command::request, read_batch());
    }
    // Whether a whole exchange works and gives the guest's bytes.
    bool works(ClientSession& session) {
        const Reply reply = call(*core, read_call(session));
        if (reply.status != Status::ok) return false;
        const auto answer = session.open(Command::request, reply.payload);
        if (!answer) return false;
        const auto parts = testing::take_apart(*answer);
        return parts && std::ranges::equal(parts->ops.at(0).after<wire::ReadResult>(), kPlain);
    }

    // `end` makes the message that ends the session.
    void expect_no_key_left_after(const std::function<Message(ClientSession&)>& end);

    static constexpr std::string_view kPlain = "what only the enclave may see";
    SyntheticGuest guest{4 * kMiB};
    SyntheticPort port{{&guest}};
    const crypto::SigningKeyPair authority = authority_keys();
    std::unique_ptr<Core> core =
        std::make_unique<Core>(port, hypervisor_keys(), authority.public_key(), false);
};

// --- the honest way

TEST_F(CoreTest, identity_names_the_keys_and_gives_a_fresh_nonce_each_time) {
    const wire::Identity first = testing::identity(*core);
    EXPECT_EQ(first.hypervisor_key, hypervisor_keys().public_key());
    EXPECT_EQ(first.hypervisor_key_id, crypto::sha256(first.hypervisor_key));
    EXPECT_EQ(first.authority_key, authority.public_key());
    EXPECT_EQ(std::string_view{first.port.data()}, "synthetic");
    EXPECT_EQ(first.max_request_size, wire::kMaxRequestSize);
    EXPECT_EQ(first.max_answer_size, wire::kMaxAnswerSize);
    EXPECT_EQ(first.max_sessions, kMaxSessions);
    EXPECT_NE(first.registration_nonce, testing::identity(*core).registration_nonce);
}

TEST_F(CoreTest, an_approved_ids_registers_reads_and_closes) {
    Registrar registrar{*core, guest.id};
    const Reply reply = call(*core, registrar.signed_by(authority));
    ASSERT_EQ(reply.status, Status::ok);
    const auto session = ClientSession::confirm(registrar, reply.payload);
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session->confirmation.binding_digest, registrar.result.binding_digest);
    EXPECT_EQ(session->confirmation.epoch, guest.current_epoch);
    EXPECT_EQ(session->confirmation.hypervisor_clock, port.clock_ns);
    EXPECT_EQ(session->confirmation.lifetime_seconds, 3600u);

    EXPECT_TRUE(works(*session));
    EXPECT_TRUE(works(*session));
    const Reply closed = call(*core, session->seal(Command::close, BatchBuilder{}.bytes()));
    ASSERT_EQ(closed.status, Status::ok);
    EXPECT_TRUE(session->open(Command::close, closed.payload).has_value());
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
}

TEST_F(CoreTest, several_sessions_of_one_domain_do_not_disturb_each_other) {
    std::vector<std::unique_ptr<ClientSession>> sessions;
    std::set<std::uint64_t> ids;
    for (std::size_t i = 0; i < kMaxSessionsPerDomain; ++i) {
        sessions.push_back(open());
        ASSERT_NE(sessions.back(), nullptr);
        ids.insert(sessions.back()->confirmation.session);
    }
    EXPECT_EQ(ids.size(), sessions.size());
    for (int round = 0; round < 3; ++round) {
        for (const auto& session : sessions)
            EXPECT_TRUE(works(*session));
    }
}

TEST_F(CoreTest, nothing_of_the_guest_or_of_an_address_is_in_a_message) {
    const auto session = open();
    const auto contains = [](const Message& message, Bytes secret) {
        return !std::ranges::search(message, secret).empty();
    };
    const Bytes plain{reinterpret_cast<const std::uint8_t*>(kPlain.data()), 8};
    const Message batch = read_batch();
    const Message sent = read_call(*session);
    EXPECT_FALSE(contains(sent, Bytes{batch}.subspan(16)));
    // The reply's buffer is shared with the host: not even behind the reply's end may it lie.
    Message reply(kMaxReplySize);
    ASSERT_GT(core->sgm_op(sent, reply), 0u);
    EXPECT_FALSE(contains(reply, plain));
}

// --- registration attacks

TEST_F(CoreTest, a_result_of_another_authority_is_refused) {
    const Registrar registrar{*core, guest.id};
    EXPECT_EQ(status_of(registrar.signed_by(authority_keys(10))), Status::bad_signature);
    EXPECT_EQ(register_with(registrar), Status::ok) << "a refusal uses nothing up";
}

TEST_F(CoreTest, a_result_that_was_changed_after_signing_is_refused) {
    const Registrar registrar{*core, guest.id};
    const Message good = registrar.signed_by(authority);
    const std::size_t begin = sizeof(wire::OpHeader) + sizeof(wire::RegistrationBinding);
    for (std::size_t i = begin; i < good.size(); i += 7) {
        Message bad = good;
        bad[i] ^= 0x10;
        EXPECT_EQ(status_of(bad), Status::bad_signature) << i;
    }
}

TEST_F(CoreTest, a_signature_that_means_something_else_is_refused) {
    Registrar registrar{*core, guest.id};
    registrar.result.label[11] ^= 1;
    EXPECT_EQ(register_with(registrar), Status::bad_signature);
}

TEST_F(CoreTest, a_nonce_that_was_never_issued_is_refused) {
    Registrar registrar{*core, guest.id};
    registrar.binding.registration_nonce[5] ^= 1;
    registrar.rebind();
    EXPECT_EQ(register_with(registrar), Status::unknown_nonce);
}

TEST_F(CoreTest, a_nonce_is_good_once_so_a_replayed_result_is_refused) {
    const Registrar registrar{*core, guest.id};
    EXPECT_EQ(register_with(registrar), Status::ok);
    EXPECT_EQ(register_with(registrar), Status::unknown_nonce);
}

TEST_F(CoreTest, a_nonce_that_is_forgotten_is_refused) {
    const Registrar registrar{*core, guest.id};
    const Registrar kept{*core, guest.id};
    for (std::size_t i = 0; i < kMaxNonces - 1; ++i)
        (void)testing::identity(*core);
    EXPECT_EQ(register_with(registrar), Status::unknown_nonce);
    EXPECT_EQ(register_with(kept), Status::ok);
}

TEST_F(CoreTest, another_nonce_than_the_bindings_is_refused) {
    Registrar registrar{*core, guest.id};
    registrar.result.registration_nonce = testing::identity(*core).registration_nonce;
    EXPECT_EQ(register_with(registrar), Status::wrong_binding);
}

TEST_F(CoreTest, a_lifetime_counts_from_the_issue_of_the_nonce) {
    Registrar registrar{*core, guest.id};
    registrar.result.lifetime_seconds = 60;
    port.clock_ns += 60 * kSecond;
    EXPECT_EQ(register_with(registrar), Status::lifetime_over);
    --port.clock_ns;
    EXPECT_EQ(register_with(registrar), Status::ok);
}

TEST_F(CoreTest, a_domain_that_is_not_here_is_refused) {
    SyntheticGuest elsewhere{kMiB};
    elsewhere.id = {0x99};
    EXPECT_EQ(register_with(Registrar{*core, elsewhere.id}), Status::wrong_domain);
}

TEST_F(CoreTest, a_result_for_another_domain_is_refused) {
    SyntheticGuest other{kMiB};
    other.id = {0x99};
    port.add(other);
    Registrar registrar{*core, guest.id};
    registrar.result.domain = other.id;
    EXPECT_EQ(register_with(registrar), Status::wrong_domain);
}

TEST_F(CoreTest, a_result_for_another_hypervisor_is_refused) {
    Registrar registrar{*core, guest.id};
    registrar.result.hypervisor_key_id[0] ^= 1;
    EXPECT_EQ(register_with(registrar), Status::wrong_hypervisor);
}

TEST_F(CoreTest, a_result_for_another_secret_is_refused) {
    Registrar registrar{*core, guest.id};
    const Registrar other{*core, guest.id};
    registrar.binding.encapsulation = other.binding.encapsulation;
    registrar.binding.sealed_secret = other.binding.sealed_secret;
    EXPECT_EQ(register_with(registrar), Status::wrong_binding);
}

TEST_F(CoreTest, a_result_for_another_ids_is_refused) {
    Registrar registrar{*core, guest.id};
    registrar.binding.ids.signing.fill(0x77);
    EXPECT_EQ(register_with(registrar), Status::wrong_binding) << "the binding was changed";
    registrar.rebind();
    registrar.result.ids.sealing.fill(0x78);
    EXPECT_EQ(register_with(registrar), Status::wrong_binding) << "the result names other keys";
}

TEST_F(CoreTest, a_debug_enclave_is_refused) {
    Registrar registrar{*core, guest.id};
    registrar.result.flags = wire::kAttestedDebug;
    EXPECT_EQ(register_with(registrar), Status::debug_refused);
    registrar.result.flags |= wire::kAttestedSoftwareSgx;
    core = std::make_unique<Core>(port, hypervisor_keys(), authority.public_key(), true);
    Registrar again{*core, guest.id};
    again.result.flags = wire::kAttestedDebug | wire::kAttestedSoftwareSgx;
    EXPECT_EQ(register_with(again), Status::debug_refused) << "also where software is allowed";
}

TEST_F(CoreTest, a_software_enclave_is_refused_unless_configured) {
    Registrar registrar{*core, guest.id};
    registrar.result.flags = wire::kAttestedSoftwareSgx;
    EXPECT_EQ(register_with(registrar), Status::software_sgx_refused);
    core = std::make_unique<Core>(port, hypervisor_keys(), authority.public_key(), true);
    Registrar allowed{*core, guest.id};
    allowed.result.flags = wire::kAttestedSoftwareSgx;
    EXPECT_EQ(register_with(allowed), Status::ok);
}

TEST_F(CoreTest, flags_that_are_not_known_are_not_taken_as_harmless) {
    Registrar registrar{*core, guest.id};
    registrar.result.flags = 1u << 7;
    EXPECT_EQ(register_with(registrar), Status::unsupported);
    registrar.result.flags = 0;
    registrar.result.reserved = 1;
    EXPECT_EQ(register_with(registrar), Status::unsupported);
}

// The points of Curve25519 and of its twist whose order divides 8, and what means the same modulo
// 2^255 - 19 or with the ignored top bit: https://cr.yp.to/ecdh.html#validate (each with and
// without it).
std::vector<wire::Encapsulation> low_order_points() {
    const auto point = [](std::uint8_t first, std::uint8_t middle, std::uint8_t last) {
        wire::Encapsulation bytes{};
        bytes.fill(middle);
        bytes.front() = first;
        bytes.back() = last;
        return bytes;
    };
    const wire::Encapsulation order8 = {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae,
                                        0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
                                        0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd,
                                        0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00};
    const wire::Encapsulation order8_too = {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24,
                                            0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
                                            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86,
                                            0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57};
    std::vector<wire::Encapsulation> points = {
        point(0x00, 0x00, 0x00),  // 0
        point(0x01, 0x00, 0x00),  // 1
        order8,
        order8_too,
        point(0xec, 0xff, 0x7f),  // p - 1
        point(0xed, 0xff, 0x7f),  // p
        point(0xee, 0xff, 0x7f),  // p + 1
    };
    for (wire::Encapsulation same : std::vector{points}) {
        same.back() |= 0x80;
        points.push_back(same);
    }
    return points;
}

TEST_F(CoreTest, every_low_order_point_is_refused) {
    for (const wire::Encapsulation& point : low_order_points()) {
        Registrar registrar{*core, guest.id};
        registrar.binding.encapsulation = point;
        registrar.rebind();
        EXPECT_EQ(register_with(registrar), Status::bad_encapsulation) << int{point[0]};
        EXPECT_EQ(register_with(registrar), Status::unknown_nonce) << "the nonce was used";
    }
}

TEST_F(CoreTest, a_secret_for_another_key_domain_or_nonce_does_not_open) {
    Registrar registrar{*core, guest.id};
    registrar.binding.sealed_secret[3] ^= 1;
    registrar.rebind();
    EXPECT_EQ(register_with(registrar), Status::bad_encapsulation);

    Registrar other_nonce{*core, guest.id};
    other_nonce.binding.registration_nonce = testing::identity(*core).registration_nonce;
    other_nonce.rebind();
    EXPECT_EQ(register_with(other_nonce), Status::bad_encapsulation);

    SyntheticGuest other{kMiB};
    other.id = {0x99};
    port.add(other);
    Registrar other_domain{*core, guest.id};
    other_domain.binding.domain = other.id;
    other_domain.rebind();
    EXPECT_EQ(register_with(other_domain), Status::bad_encapsulation);
}

TEST_F(CoreTest, a_domain_over_its_share_of_sessions_loses_its_own_oldest) {
    SyntheticGuest other{kMiB};
    other.id = {0xee};
    port.add(other);
    const auto others = open_session(*core, other.id, authority);
    std::vector<std::unique_ptr<ClientSession>> sessions;
    for (std::size_t i = 0; i <= kMaxSessionsPerDomain; ++i) {
        port.clock_ns += kSecond;
        sessions.push_back(open());
        ASSERT_NE(sessions.back(), nullptr) << i;
    }
    EXPECT_EQ(status_of(read_call(*sessions[0])), Status::no_such_session);
    for (std::size_t i = 1; i < sessions.size(); ++i) {
        EXPECT_TRUE(works(*sessions[i])) << i;
    }
    EXPECT_EQ(status_of(others->seal(Command::request, BatchBuilder{}.bytes())), Status::ok);
}

TEST_F(CoreTest, each_of_1024_domains_has_eight_sessions_that_no_other_can_take) {
    std::vector<std::unique_ptr<SyntheticGuest>> others;
    for (std::size_t i = 0; i < kMaxDomains; ++i) {
        others.push_back(std::make_unique<SyntheticGuest>(kMiB));
        others[i]->id = {0xee, static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i >> 8)};
        port.add(*others[i]);
    }
    std::vector<std::unique_ptr<ClientSession>> sessions;
    for (std::size_t i = 0; i < kMaxSessions; ++i) {
        sessions.push_back(open_session(*core, others[i % kMaxDomains]->id, authority));
        ASSERT_NE(sessions[i], nullptr) << i;
    }
    EXPECT_EQ(register_with(Registrar{*core, guest.id}), Status::too_many_sessions);
    const Message nothing = BatchBuilder{}.bytes();
    for (std::size_t i = 0; i < kMaxSessions; ++i) {
        ASSERT_EQ(status_of(sessions[i]->seal(Command::request, nothing)), Status::ok) << i;
    }

    port.remove(*others[3]);
    const auto in_its_place = open();
    ASSERT_NE(in_its_place, nullptr) << "a domain that is gone makes room";
    EXPECT_TRUE(works(*in_its_place));
    SyntheticGuest one_more{kMiB};
    one_more.id = {0xef};
    port.add(one_more);
    EXPECT_EQ(register_with(Registrar{*core, one_more.id}), Status::too_many_sessions);
    port.clock_ns += 3600 * kSecond;
    EXPECT_EQ(register_with(Registrar{*core, one_more.id}), Status::ok) << "expired ones too";
}

TEST_F(CoreTest, without_randomness_there_is_neither_nonce_nor_session) {
    const Registrar registrar{*core, guest.id};
    port.random_works = false;
    EXPECT_EQ(status_of(frame(Command::identity, {})), Status::internal);
    EXPECT_EQ(register_with(registrar), Status::internal);
}

// --- sessions under attack

TEST_F(CoreTest, a_replayed_request_closes_the_session) {
    const auto session = open();
    const Message sent = read_call(*session);
    EXPECT_EQ(status_of(sent), Status::ok);
    EXPECT_EQ(status_of(sent), Status::refused_counter);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
    EXPECT_NE(open(), nullptr);
}

TEST_F(CoreTest, a_reordered_request_closes_the_session) {
    const auto session = open();
    const Message first = read_call(*session);
    const Message second = read_call(*session);
    EXPECT_EQ(status_of(second), Status::ok) << "a gap is allowed: a message may be lost";
    EXPECT_EQ(status_of(first), Status::refused_counter);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
}

TEST_F(CoreTest, counter_zero_belongs_to_the_confirmation) {
    const auto session = open();
    --session->counter;
    EXPECT_EQ(status_of(read_call(*session)), Status::refused_counter);
}

TEST_F(CoreTest, every_flipped_bit_of_a_request_is_refused) {
    const std::size_t size = read_call(*open()).size();
    for (std::size_t bit = 0; bit < size * 8; ++bit) {
        const auto session = open();
        Message message = read_call(*session);
        message[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
        guest.reads = 0;
        const Reply reply = call(*core, message);
        ASSERT_NE(reply.status, Status::ok) << "bit " << bit;
        ASSERT_TRUE(reply.payload.empty());
        ASSERT_EQ(guest.reads, 0u);
    }
}

TEST_F(CoreTest, every_truncation_and_extension_of_a_call_is_malformed_and_harmless) {
    const auto session = open();
    const Message good = read_call(*session);
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_EQ(status_of(Bytes{good}.first(size)), Status::malformed) << size;
    }
    Message longer = good;
    for (int i = 0; i < 64; ++i) {
        longer.push_back(0);
        EXPECT_EQ(status_of(longer), Status::malformed);
    }
    longer.resize(kMaxCallSize + 1);
    EXPECT_EQ(status_of(longer), Status::malformed);
    EXPECT_EQ(status_of(good), Status::ok) << "a host that sends garbage closes nobody's session";
}

TEST_F(CoreTest, a_reflected_answer_is_refused) {
    const auto session = open();
    const Reply reply = call(*core, read_call(*session));
    ++session->counter;
    auto header = Reader{reply.payload}.take<wire::SealedHeader>().value();
    header.counter = session->counter;
    const Message reflected =
        frame(Command::request, {bytes_of(header), Bytes{reply.payload}.subspan(sizeof(header))});
    EXPECT_EQ(status_of(reflected), Status::refused_tag);
}

TEST_F(CoreTest, a_request_is_not_taken_for_a_close_nor_the_reverse) {
    const auto session = open();
    Message message = session->seal(Command::request, BatchBuilder{}.bytes());
    message[6] = static_cast<std::uint8_t>(Command::close);
    EXPECT_EQ(status_of(message), Status::refused_tag);
    const auto other = open();
    message = other->seal(Command::close, BatchBuilder{}.bytes());
    message[6] = static_cast<std::uint8_t>(Command::request);
    EXPECT_EQ(status_of(message), Status::refused_tag);
}

TEST_F(CoreTest, another_sessions_request_or_answer_is_refused) {
    const auto first = open();
    const auto second = open();
    Message message = read_call(*first);
    const std::uint64_t id = second->confirmation.session;
    std::memcpy(&message[sizeof(wire::OpHeader)], &id, sizeof(id));
    EXPECT_EQ(status_of(message), Status::refused_tag) << "spliced into the second";
    EXPECT_TRUE(works(*first));
    const auto third = open();
    const Reply reply = call(*core, read_call(*third));
    ++first->counter;
    EXPECT_FALSE(first->open(Command::request, reply.payload).has_value());
}

TEST_F(CoreTest, an_answer_answers_its_own_request_only) {
    const auto session = open();
    const Reply reply = call(*core, read_call(*session));
    EXPECT_TRUE(session->open(Command::request, reply.payload).has_value());
    (void)read_call(*session);
    EXPECT_FALSE(session->open(Command::request, reply.payload).has_value());
    EXPECT_FALSE(session->open(Command::close, reply.payload, 1).has_value());
}

TEST_F(CoreTest, a_session_refuses_to_count_beyond_what_its_keys_may_seal) {
    const auto session = open();
    session->counter = wire::kMaxSessionMessages - 1;
    EXPECT_TRUE(works(*session));
    EXPECT_EQ(status_of(read_call(*session)), Status::exhausted);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
}

TEST(SessionTable, a_session_refuses_a_request_whose_answer_its_keys_might_not_be_allowed) {
    SyntheticGuest guest{kMiB};
    SyntheticPort port{{&guest}};
    const auto table = std::make_unique<SessionTable>();
    const SessionScope scope{.id = 1ull << 40,
                             .domain = guest.id,
                             .mrenclave = {},
                             .binding_digest = {},
                             .epoch = 1,
                             .opened_ns = 0,
                             .expires_ns = ~0ull};
    const auto last_request = [&](std::uint64_t sealed_before) {
        Session* const session = table->make_room(guest.id, port);
        EXPECT_TRUE(table->open(*session, scope, {}, {}, KeyUsage{sealed_before}));
        const SessionName name = session->scope().name();
        const SessionKeys keys{name, derive_keys(name, {}, {})};
        Message text(100);
        const auto header = keys.seal(Command::request, wire::Direction::request, 1, text);
        const auto opened = table->unseal(*session, Command::request, header, text);
        EXPECT_EQ(session->is_open(), opened.has_value());
        return opened ? Status::ok : opened.error();
    };
    const std::uint64_t enough = wire::kMaxSessionBytes - wire::kMaxAnswerSize - 100;
    EXPECT_EQ(last_request(enough), Status::ok);
    EXPECT_EQ(last_request(enough + 1), Status::exhausted);
    EXPECT_EQ(last_request(~0ull), Status::exhausted);
}

TEST(KeyUsage, is_worn_from_half_of_either_bound_on) {
    KeyUsage usage;
    EXPECT_FALSE(usage.is_worn(wire::kMaxSessionMessages / 2 - 1));
    EXPECT_TRUE(usage.is_worn(wire::kMaxSessionMessages / 2));
    usage.add(wire::kMaxSessionBytes / 2 - 1);
    EXPECT_FALSE(usage.is_worn(1));
    usage.add(1);
    EXPECT_TRUE(usage.is_worn(1));
}

TEST_F(CoreTest, a_session_expires_with_the_attestation) {
    const auto session = open();
    port.clock_ns += 3600 * kSecond - 1;
    EXPECT_TRUE(works(*session));
    port.clock_ns += 1;
    EXPECT_EQ(status_of(read_call(*session)), Status::lifetime_over);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
}

TEST_F(CoreTest, a_new_epoch_of_the_domain_ends_its_sessions) {
    const auto session = open();
    ++guest.current_epoch;
    EXPECT_EQ(status_of(read_call(*session)), Status::stale_epoch);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
    const auto renewed = open();
    ASSERT_NE(renewed, nullptr);
    EXPECT_EQ(renewed->confirmation.epoch, guest.current_epoch);
    EXPECT_TRUE(works(*renewed));
}

TEST_F(CoreTest, a_domain_that_is_gone_ends_its_sessions) {
    const auto session = open();
    port.remove(guest);
    EXPECT_EQ(status_of(read_call(*session)), Status::wrong_domain);
    port.add(guest);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
}

TEST_F(CoreTest, a_sealed_batch_that_is_malformed_ends_the_session) {
    const auto session = open();
    Message batch = read_batch();
    batch.pop_back();
    EXPECT_EQ(status_of(session->seal(Command::request, batch)), Status::malformed);
    EXPECT_EQ(status_of(read_call(*session)), Status::no_such_session);
    const auto other = open();
    EXPECT_EQ(status_of(other->seal(Command::close, read_batch())), Status::malformed);
}

TEST_F(CoreTest, frames_that_are_none_are_refused) {
    const auto changed = [](auto change) {
        wire::OpHeader header{.magic = wire::kOpMagic,
                              .version = wire::kProtocolVersion,
                              .command = 1,
                              .size = 0,
                              .status = 0};
        change(header);
        const Bytes bytes = bytes_of(header);
        return Message{bytes.begin(), bytes.end()};
    };
    EXPECT_EQ(status_of(changed([](auto&) {})), Status::ok);
    EXPECT_EQ(status_of(changed([](auto& h) { h.magic ^= 1; })), Status::malformed);
    EXPECT_EQ(status_of(changed([](auto& h) { h.status = 1; })), Status::malformed);
    EXPECT_EQ(status_of(changed([](auto& h) { h.size = 1; })), Status::malformed);
    EXPECT_EQ(status_of(changed([](auto& h) { h.version = 2; })), Status::unsupported);
    EXPECT_EQ(status_of(changed([](auto& h) { h.command = 0; })), Status::unsupported);
    EXPECT_EQ(status_of(changed([](auto& h) { h.command = 6; })), Status::unsupported);
    EXPECT_EQ(status_of(changed([](auto& h) { h.command = 2; })), Status::malformed);
    EXPECT_EQ(status_of(changed([](auto& h) { h.command = 3; })), Status::malformed);
    EXPECT_EQ(status_of(changed([](auto& h) { h.command = 5; })), Status::malformed);
}

TEST_F(CoreTest, a_reply_buffer_that_is_too_small_gets_nothing) {
    Message reply(kMaxReplySize - 1, 0xaa);
    EXPECT_EQ(core->sgm_op(frame(Command::identity, {}), reply), 0u);
    EXPECT_TRUE(std::ranges::all_of(reply, [](std::uint8_t byte) { return byte == 0xaa; }));
}

TEST_F(CoreTest, the_call_is_read_once) {
    // A host that changes the call while it is being worked on: here at the first read of memory,
    // when the request has been opened but not yet executed to its end.
    const auto session = open();
    Message message =
        session->seal(Command::request, BatchBuilder{}
                                            .read(0, wire::Paging::physical, 0x2000, 8)
                                            .read(0, wire::Paging::physical, 0x1000, kPlain.size())
                                            .bytes());
    guest.before_read = [&] { std::ranges::fill(message, std::uint8_t{0xff}); };
    const Reply reply = call(*core, message);
    ASSERT_EQ(reply.status, Status::ok);
    const auto answer = session->open(Command::request, reply.payload);
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(std::ranges::equal(
        testing::take_apart(*answer)->ops.at(1).after<wire::ReadResult>(), kPlain));
}

TEST_F(CoreTest, random_calls_are_refused_and_leave_the_session_alone_or_closed) {
    std::mt19937_64 random{11};
    auto session = open();
    for (int round = 0; round < 20'000; ++round) {
        Message message = read_call(*session);
        for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
            message[random() % message.size()] = static_cast<std::uint8_t>(random());
        }
        if (random() % 2 == 0) message.resize(random() % (message.size() + 20));
        const Reply reply = call(*core, message);
        if (reply.status == Status::ok) {
            // Nothing was changed after all, or it has become an identity.
            const auto header = Reader{message}.take<wire::OpHeader>();
            ASSERT_TRUE(header->command == 1 ||
                        session->open(Command::request, reply.payload).has_value());
        }
        if (status_of(read_call(*session)) != Status::ok) session = open();
        ASSERT_NE(session, nullptr);
    }
    EXPECT_EQ(guest.reads_outside_ram, 0u);
}

// --- keys

void CoreTest::expect_no_key_left_after(const std::function<Message(ClientSession&)>& end) {
    const auto image = [&] {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(core.get());
        return Message{bytes, bytes + sizeof(Core)};
    };
    Registrar registrar{*core, guest.id};
    const Reply reply = call(*core, registrar.signed_by(authority));
    const auto session = ClientSession::confirm(registrar, reply.payload);
    ASSERT_NE(session, nullptr);
    const wire::SessionKeyInfo info{.label = wire::kSessionLabel,
                                    .domain = guest.id,
                                    .session = session->confirmation.session,
                                    .epoch = guest.current_epoch};
    std::array<std::uint8_t, 72> keys{};
    ASSERT_TRUE(crypto::hkdf_expand(
        crypto::hkdf_extract(registrar.binding.registration_nonce, registrar.secret.bytes()),
        {bytes_of(info)}, keys));
    // The first round key of AES is the key itself: in the schedule, and as it was derived.
    const auto count = [&](const Message& memory) {
        int found = 0;
        for (const std::size_t at : {0u, 32u}) {
            const Bytes half = Bytes{keys}.subspan(at, 16);
            for (auto rest = std::ranges::search(memory, half); !rest.empty();
                 rest = std::ranges::search(std::ranges::subrange(rest.end(), memory.end()), half))
                ++found;
        }
        found += !std::ranges::search(memory, registrar.secret.bytes()).empty();
        return found;
    };
    EXPECT_EQ(count(image()), 4) << "this test looks in the wrong place";
    EXPECT_EQ(status_of(end(*session)), Status::ok);
    EXPECT_EQ(count(image()), 0);
}

TEST_F(CoreTest, a_closed_session_leaves_no_key_behind) {
    expect_no_key_left_after([](ClientSession& session) {
        return session.seal(Command::close, BatchBuilder{}.bytes());
    });
}

TEST_F(CoreTest, a_revoked_session_leaves_no_key_behind) {
    expect_no_key_left_after([&](ClientSession&) {
        wire::RevocationList list{};
        list.label = wire::kRevocationLabel;
        list.sequence = 1;
        list.count = 1;
        list.entries[0].kind = wire::RevokedKind::everything;
        const wire::Signature signature = authority.sign({bytes_of(list)});
        return frame(Command::revoke, {bytes_of(list), bytes_of(signature)});
    });
}

TEST(StatusText, every_refusal_has_its_own_words) {
    std::set<std::string_view> texts;
    constexpr std::uint32_t kCount = static_cast<std::uint32_t>(Status::stale_revocation) + 1;
    for (std::uint32_t i = 0; i < kCount; ++i)
        texts.insert(wire::text(static_cast<Status>(i)));
    EXPECT_EQ(texts.size(), kCount);
    EXPECT_FALSE(texts.contains(wire::text(static_cast<Status>(kCount))));
}

}  // namespace
}  // namespace sgm::hypervisor
