// SPDX-License-Identifier: MIT
// What the Xen port owes Xen: each reference and pause given back, whatever a call was about and
// however it ended, and nothing believed of a domain that is going away.
#include <gtest/gtest.h>

#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/machine.hpp"
#include "hypervisor/xen/known_answers.hpp"
#include "hypervisor/xen/shim.h"
#include "hypervisor/xen/testing/fake_xen.hpp"
#include "wire/xen_op.h"

namespace sgm::xen {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::call;
using hypervisor::testing::ClientSession;
using hypervisor::testing::Machine;
using hypervisor::testing::Message;
using hypervisor::testing::open_session;
using hypervisor::testing::SyntheticGuest;
using testing::fake_xen;
using wire::Command;
using wire::Status;

constexpr std::uint64_t kRam = 1ul << 20;

class XenPortTest : public ::testing::Test {
  protected:
    XenPortTest() { other.id = {0x77}; }
    void TearDown() override { EXPECT_EQ(machine->complaint(), ""); }

    std::unique_ptr<ClientSession> open(const SyntheticGuest& of) {
        return open_session(*machine, of.id, authority);
    }
    Status ask(ClientSession& session, Bytes batch) {
        return call(*machine, session.seal(Command::request, batch)).status;
    }
    static Message read_batch(std::uint32_t flags = 0) {
        return BatchBuilder{flags}.read(0, wire::Paging::physical, 0x1000, 64).bytes();
    }

    SyntheticGuest guest{kRam};
    SyntheticGuest other{kRam};
    crypto::SigningKeyPair authority = crypto::SigningKeyPair::generate().value();
    std::unique_ptr<Machine> machine =
        hypervisor::testing::make_machine({&guest, &other}, authority.public_key());
};

TEST_F(XenPortTest, one_wrong_bit_in_what_a_cpu_computes_fails_the_self_test) {
    EXPECT_TRUE(cryptography_gives_known_answers());
    for (int bit = 0; bit < 8; ++bit)
        EXPECT_FALSE(cryptography_gives_known_answers(static_cast<std::uint8_t>(1u << bit)));
}

TEST_F(XenPortTest, a_batch_gives_back_what_it_took) {
    const auto session = open(guest);
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(ask(*session, read_batch()), Status::ok);
    EXPECT_EQ(fake_xen().references(), 0);
    EXPECT_EQ(guest.holds, 0);
}

TEST_F(XenPortTest, a_domain_is_paused_over_a_consistent_batch_and_no_longer) {
    const auto session = open(guest);
    ASSERT_NE(session, nullptr);
    guest.before_read = [] { EXPECT_EQ(fake_xen().pauses(), 1); };
    EXPECT_EQ(ask(*session, read_batch(wire::kBatchConsistent)), Status::ok);
    EXPECT_EQ(fake_xen().pauses(), 0);
    EXPECT_EQ(guest.holds, 1);
}

TEST_F(XenPortTest, every_refusal_gives_back_what_it_took) {
    const auto session = open(guest);
    ASSERT_NE(session, nullptr);
    Message forged = session->seal(Command::request, read_batch());
    forged.back() ^= 1;
    EXPECT_EQ(call(*machine, forged).status, Status::refused_tag);
    EXPECT_EQ(machine->complaint(), "");
    EXPECT_EQ(call(*machine, Message(5)).status, Status::malformed);
    EXPECT_EQ(machine->complaint(), "");
    wire::Uuid nobody{0x55};
    EXPECT_EQ(open_session(*machine, nobody, authority), nullptr);
}

TEST_F(XenPortTest, sessions_of_two_domains_do_not_meet) {
    const auto first = open(guest);
    const auto second = open(other);
    ASSERT_NE(first, nullptr);
    ASSERT_NE(second, nullptr);
    guest.reads = other.reads = 0;
    EXPECT_EQ(ask(*first, read_batch()), Status::ok);
    EXPECT_GT(guest.reads, 0u);
    EXPECT_EQ(other.reads, 0u);
    EXPECT_EQ(ask(*second, read_batch()), Status::ok);
    EXPECT_GT(other.reads, 0u);
}

TEST_F(XenPortTest, a_domain_that_is_destroyed_is_no_domain_any_more) {
    const auto session = open(guest);
    ASSERT_NE(session, nullptr);
    fake_xen().destroy(guest);
    guest.reads = 0;
    EXPECT_EQ(ask(*session, read_batch()), Status::wrong_domain);
    EXPECT_EQ(guest.reads, 0u);
    EXPECT_EQ(open(guest), nullptr);
    EXPECT_NE(open(other), nullptr);
}

TEST_F(XenPortTest, a_domain_destroyed_in_the_middle_of_a_batch_is_given_back) {
    const auto session = open(guest);
    ASSERT_NE(session, nullptr);
    int reads = 0;
    guest.before_read = [&] {
        if (++reads == 2) fake_xen().destroy(guest);
    };
    BatchBuilder batch{wire::kBatchConsistent};
    for (std::uint64_t page = 0; page < 4; ++page)
        batch.read(0, wire::Paging::physical, page * 4096, 64);
    const auto reply = call(*machine, session->seal(Command::request, batch.bytes()));
    ASSERT_EQ(reply.status, Status::ok);
    const auto answer = session->open(Command::request, reply.payload);
    ASSERT_TRUE(answer.has_value());
    const auto parts = hypervisor::testing::take_apart(*answer);
    ASSERT_TRUE(parts.has_value());
    ASSERT_EQ(parts->ops.size(), 4u);
    EXPECT_EQ(parts->ops[0].status, wire::OpStatus::ok);
    EXPECT_NE(parts->ops[3].status, wire::OpStatus::ok);
}

TEST_F(XenPortTest, a_vcpu_that_cannot_be_held_is_told) {
    const auto session = open(guest);
    ASSERT_NE(session, nullptr);
    guest.can_hold = false;
    const auto reply =
        call(*machine, session->seal(Command::request, read_batch(wire::kBatchConsistent)));
    const auto answer = session->open(Command::request, reply.payload);
    ASSERT_TRUE(answer.has_value());
    const auto parts = hypervisor::testing::take_apart(*answer);
    ASSERT_TRUE(parts.has_value());
    EXPECT_EQ(parts->header.flags & wire::kBatchConsistent, 0u);
}

TEST_F(XenPortTest, without_an_authority_it_stays_off) {
    sgm_xen_keys keys{};
    EXPECT_EQ(sgm_xen_start(nullptr, nullptr, 1, &keys), SGM_XEN_NO_AUTHORITY);
}

TEST_F(XenPortTest, open_sessions_are_counted) {
    EXPECT_EQ(sgm_xen_open_sessions(), 0u);
    const auto session = open(guest);
    EXPECT_EQ(sgm_xen_open_sessions(), 1u);
    (void)call(*machine, session->seal(Command::close, BatchBuilder{}.bytes()));
    EXPECT_EQ(sgm_xen_open_sessions(), 0u);
}

}  // namespace
}  // namespace sgm::xen
