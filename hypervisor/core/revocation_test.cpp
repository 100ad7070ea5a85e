// SPDX-License-Identifier: MIT
// The authority takes its word back. The list travels in the clear through the host, which may
// hold it back, change it, or bring an old one or another hypervisor's.
#include <gtest/gtest.h>

#include <algorithm>

#include "hypervisor/core/core.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::wire {
void PrintTo(Status status, std::ostream* out);  // core_test.cpp
}  // namespace sgm::wire

namespace sgm::hypervisor {
namespace {

using testing::BatchBuilder;
using testing::call;
using testing::ClientSession;
using testing::frame;
using testing::Registrar;
using testing::Reply;
using testing::SyntheticGuest;
using testing::SyntheticPort;
using wire::Command;
using wire::RevokedKind;
using wire::Status;

class RevocationTest : public ::testing::Test {
  protected:
    RevocationTest() {
        other.id = {0x77};
        port.add(other);
    }
    static wire::Digest padded(const wire::Uuid& uuid) {
        wire::Digest digest{};
        std::ranges::copy(uuid, digest.begin());
        return digest;
    }
    static wire::Revocation entry(RevokedKind kind, const wire::Digest& subject) {
        return {.kind = kind, .reserved = 0, .hypervisor_key_id = {}, .subject = subject};
    }
    static wire::RevocationList list(std::uint64_t sequence,
                                     const std::vector<wire::Revocation>& entries) {
        wire::RevocationList out{};
        out.label = wire::kRevocationLabel;
        out.sequence = sequence;
        out.count = static_cast<std::uint32_t>(entries.size());
        std::ranges::copy(entries, out.entries.begin());
        return out;
    }
    Reply revoke(const wire::RevocationList& revocations, const crypto::SigningKeyPair& signer) {
        const wire::Signature signature = signer.sign({bytes_of(revocations)});
        return call(*core, frame(Command::revoke, {bytes_of(revocations), bytes_of(signature)}));
    }
    Status revoke(const wire::RevocationList& revocations) {
        return revoke(revocations, authority).status;
    }
    Registrar registrar(const SyntheticGuest& domain, std::uint8_t mrenclave) {
        Registrar out{*core, domain.id};
        out.result.mrenclave = {mrenclave};
        return out;
    }
    std::unique_ptr<ClientSession> open(const Registrar& registrar) {
        const Reply reply = call(*core, registrar.signed_by(authority));
        if (reply.status != Status::ok) return nullptr;
        return ClientSession::confirm(registrar, reply.payload);
    }
    Status ask(ClientSession& session) {
        return call(*core, session.seal(Command::request, BatchBuilder{}.bytes())).status;
    }

    SyntheticGuest guest{1u << 20};
    SyntheticGuest other{1u << 20};
    SyntheticPort port{{&guest}};
    const crypto::SigningKeyPair authority = crypto::SigningKeyPair::generate().value();
    const std::unique_ptr<Core> core =
        std::make_unique<Core>(port, crypto::SealingKeyPair::generate().value(),
                               authority.public_key(), /*allow_software_sgx=*/false);
};

TEST_F(RevocationTest, closes_the_sessions_of_what_it_names_and_of_nothing_else) {
    const std::vector<std::pair<wire::Revocation, std::array<bool, 3>>> cases = {
        {entry(RevokedKind::mrenclave, {1}), {true, false, true}},
        {entry(RevokedKind::domain, padded(guest.id)), {true, true, false}},
        {entry(RevokedKind::registration, {}), {true, false, false}},
        {entry(RevokedKind::everything, {}), {true, true, true}},
    };
    std::uint64_t sequence = 0;
    for (auto [revocation, closed] : cases) {
        ASSERT_EQ(revoke(list(++sequence, {})), Status::ok) << "nothing is revoked";
        const std::array<Registrar, 3> registrars = {registrar(guest, 1), registrar(guest, 2),
                                                     registrar(other, 1)};
        std::vector<std::unique_ptr<ClientSession>> sessions;
        for (const Registrar& one : registrars)
            sessions.push_back(open(one));
        if (revocation.kind == RevokedKind::registration) {
            revocation.subject = registrars[0].result.binding_digest;
        }
        const Reply reply = revoke(list(++sequence, {revocation}), authority);
        ASSERT_EQ(reply.status, Status::ok);
        const auto receipt = Reader{reply.payload}.take<wire::RevocationReceipt>().value();
        EXPECT_EQ(receipt.sequence, sequence);
        EXPECT_GE(receipt.sessions_closed,
                  static_cast<std::uint32_t>(std::ranges::count(closed, true)));
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            EXPECT_EQ(ask(*sessions[i]), closed[i] ? Status::revoked : Status::ok)
                << sequence << " " << i;
        }
    }
}

TEST_F(RevocationTest, refuses_to_register_what_it_names_until_a_newer_list_does_not) {
    const Registrar signed_before = registrar(guest, 1);
    ASSERT_EQ(revoke(list(1, {entry(RevokedKind::mrenclave, {1})})), Status::ok);
    EXPECT_EQ(call(*core, signed_before.signed_by(authority)).status, Status::revoked);
    EXPECT_NE(open(registrar(guest, 2)), nullptr);
    ASSERT_EQ(revoke(list(2, {})), Status::ok);
    EXPECT_NE(open(registrar(guest, 1)), nullptr);
}

TEST_F(RevocationTest, is_believed_only_from_the_authority_and_only_as_it_was_signed) {
    const auto session = open(registrar(guest, 1));
    const auto sound = list(1, {entry(RevokedKind::everything, {})});
    const auto stranger = crypto::SigningKeyPair::generate().value();
    EXPECT_EQ(revoke(sound, stranger).status, Status::bad_signature);
    const wire::Signature signature = authority.sign({bytes_of(sound)});
    for (std::size_t byte = 0; byte < sizeof(sound); byte += 7) {
        wire::RevocationList changed = sound;
        mutable_bytes_of(changed)[byte] ^= 0x10;
        EXPECT_EQ(
            call(*core, frame(Command::revoke, {bytes_of(changed), bytes_of(signature)})).status,
            Status::bad_signature)
            << byte;
    }
    wire::RevocationList another_meaning = sound;
    another_meaning.label = wire::kAttestationLabel;
    EXPECT_EQ(revoke(another_meaning), Status::bad_signature);
    EXPECT_EQ(call(*core, frame(Command::revoke, {bytes_of(sound)})).status, Status::malformed);
    EXPECT_EQ(ask(*session), Status::ok);
}

TEST_F(RevocationTest, an_older_or_replayed_list_changes_nothing) {
    const auto nothing = list(5, {});
    const auto everything = list(4, {entry(RevokedKind::everything, {})});
    const auto session = open(registrar(guest, 1));
    ASSERT_EQ(revoke(nothing), Status::ok);
    EXPECT_EQ(revoke(everything), Status::stale_revocation);
    EXPECT_EQ(ask(*session), Status::ok);
    ASSERT_EQ(revoke(list(6, {entry(RevokedKind::mrenclave, {1})})), Status::ok);
    EXPECT_EQ(revoke(nothing), Status::stale_revocation) << "nothing is taken back by a replay";
    EXPECT_EQ(call(*core, registrar(guest, 1).signed_by(authority)).status, Status::revoked);
}

TEST_F(RevocationTest, another_hypervisors_revocation_is_none_here) {
    const wire::Digest own = testing::identity(*core).hypervisor_key_id;
    auto revocation = entry(RevokedKind::everything, {});
    revocation.hypervisor_key_id = own;
    revocation.hypervisor_key_id[0] ^= 1;
    const auto session = open(registrar(guest, 1));
    ASSERT_EQ(revoke(list(1, {revocation})), Status::ok);
    EXPECT_EQ(ask(*session), Status::ok);
    revocation.hypervisor_key_id = own;
    ASSERT_EQ(revoke(list(2, {revocation})), Status::ok);
    EXPECT_EQ(ask(*session), Status::revoked);
}

TEST_F(RevocationTest, a_list_that_is_not_understood_leaves_the_one_in_force) {
    ASSERT_EQ(revoke(list(1, {entry(RevokedKind::mrenclave, {1})})), Status::ok);
    auto too_many = list(2, {});
    too_many.count = wire::kMaxRevocations + 1;
    EXPECT_EQ(revoke(too_many), Status::unsupported);
    EXPECT_EQ(revoke(list(2, {entry(static_cast<RevokedKind>(0), {})})), Status::unsupported);
    EXPECT_EQ(revoke(list(2, {entry(static_cast<RevokedKind>(5), {})})), Status::unsupported);
    EXPECT_EQ(call(*core, registrar(guest, 1).signed_by(authority)).status, Status::revoked);
    const std::vector full(wire::kMaxRevocations, entry(RevokedKind::mrenclave, {3}));
    EXPECT_EQ(revoke(list(2, full)), Status::ok) << "a list may be full";
    EXPECT_EQ(call(*core, registrar(guest, 3).signed_by(authority)).status, Status::revoked);
}

}  // namespace
}  // namespace sgm::hypervisor
