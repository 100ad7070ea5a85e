// SPDX-License-Identifier: MIT
// The authority takes its word back, all the way: its HTTP server, the relay's courier, the ring,
// the hypervisor core, an IDS with a session, and its owner.
#include <gtest/gtest.h>

#include <algorithm>

#include "authority/revocations.hpp"
#include "authority/service.hpp"
#include "config/temporary_directory.hpp"
#include "host/hypervisor_link.hpp"
#include "host/revocation_courier.hpp"
#include "hypervisor/qemu/core_gate.hpp"
#include "hypervisor/qemu/ring_server.hpp"
#include "ids/testing/world.hpp"
#include "ids/watcher.hpp"
#include "wire/fixed_text.hpp"
#include "wire/status_text.hpp"

namespace sgm {
namespace {

class RevocationEndToEnd : public testing::Test {
  protected:
    RevocationEndToEnd()
        : service_{{.listen = "127.0.0.1",
                    .port = 0,
                    .signing_key = {},
                    .revocations = directory_ / "revocations.signed",
                    .policy = {.approvals = {},
                               .domains = {},
                               .software_root = std::nullopt,
                               .lifetime_seconds = 600}},
                   crypto::SigningKeyPair::from_seed(world_.authority.seed().first<32>())},
          client_{"http://127.0.0.1:" + std::to_string(service_.start().value())},
          gate_{*world_.core},
          server_{qemu::RingServer::listen(directory_ / "hypervisor.sock", 0600, gate_).value()},
          link_{host::HypervisorLink::create((directory_ / "hypervisor.sock").string()).value()} {}

    void change(authority::Change change) {
        wire::Revocation entry{};
        entry.kind = wire::RevokedKind::domain;
        std::ranges::copy(world_.domain(), entry.subject.begin());
        ASSERT_TRUE(authority::change_revocations(directory_ / "revocations.signed",
                                                  world_.authority, change, entry, {}));
    }
    [[nodiscard]] auto carry() { return host::carry_revocations(client_, *link_, stop_); }

    const config::TemporaryDirectory directory_;
    ids::testing::World world_;
    authority::Service service_;
    const host::AuthorityClient client_;
    qemu::CoreGate gate_;
    const std::unique_ptr<qemu::RingServer> server_;
    const std::unique_ptr<host::HypervisorLink> link_;
    const std::atomic<bool> stop_ = false;
};

TEST_F(RevocationEndToEnd, closes_the_session_refuses_another_and_the_owner_is_told_why) {
    std::uint32_t closed = 0;
    world_.on_wait = [&, waits = 0]() mutable {
        ++waits;
        if (waits == 2) {
            change(authority::Change::revoke);
            closed = carry().value().value().sessions_closed;
        } else if (waits == 8) {
            change(authority::Change::restore);
            ASSERT_TRUE(carry().value().has_value());
        }
    };
    world_.waits_left = 12;
    EXPECT_EQ(ids::watch(world_, world_.authority.public_key(), world_.domain(), 1000),
              wire::EnclaveResult::stopped);
    EXPECT_EQ(closed, 1u);
    const std::string why{wire::text(wire::Status::revoked)};
    const auto findings = world_.findings();
    ASSERT_FALSE(findings.empty());
    EXPECT_NE(wire::get_text(findings[0].text).find(why), std::string::npos);
    EXPECT_NE(
        std::ranges::find(world_.log_lines,
                          "registration failed: the hypervisor refused the registration: " + why),
        world_.log_lines.end());
    EXPECT_EQ(world_.beats().back().registrations, 2u) << "once before, once when it was restored";
}

TEST_F(RevocationEndToEnd, a_list_is_brought_once_and_none_is_no_trouble) {
    ASSERT_TRUE(carry().has_value());
    EXPECT_FALSE(carry().value().has_value()) << "nothing has been revoked";
    change(authority::Change::revoke);
    EXPECT_EQ(carry().value().value().sequence, 1u);
    EXPECT_FALSE(carry().value().has_value()) << "the hypervisor has it";
}

}  // namespace
}  // namespace sgm
