// SPDX-License-Identifier: MIT
#include "authority/service.hpp"

#include <gtest/gtest.h>
#include <httplib.h>

#include "authority/appraise.hpp"
#include "authority/revocations.hpp"
#include "authority/testing.hpp"

namespace sgm::authority {
namespace {

class AuthorityService : public testing::Test {
  protected:
    [[nodiscard]] httplib::Result post(const EvidenceBytes& evidence) const {
        httplib::Client client{"127.0.0.1", port_};
        return client.Post("/v1/attest", std::string{evidence.begin(), evidence.end()},
                           "application/octet-stream");
    }

    const config::TemporaryDirectory directory_;
    const Machine machine_;
    const Applicant applicant_;
    const crypto::SigningKeyPair key_ = crypto::SigningKeyPair::from_seed(filled<32>(11));
    Service service_{{.listen = "127.0.0.1",
                      .port = 0,
                      .signing_key = {},
                      .revocations = directory_ / "revocations.signed",
                      .policy = policy_for(machine_)},
                     crypto::SigningKeyPair::from_seed(filled<32>(11))};
    const std::uint16_t port_ = service_.start().value();
};

TEST_F(AuthorityService, gives_an_approved_enclave_its_result) {
    const auto reply = post(applicant_.evidence(machine_));
    ASSERT_TRUE(reply);
    ASSERT_EQ(reply->status, 200) << reply->body;
    Reader reader{{reinterpret_cast<const std::uint8_t*>(reply->body.data()), reply->body.size()}};
    const auto result = reader.take<wire::SignedAttestationResult>();
    ASSERT_TRUE(result && reader.empty());
    EXPECT_TRUE(crypto::verify(key_.public_key(), result->signature, {bytes_of(result->result)}));
}

TEST_F(AuthorityService, tells_a_refused_one_why) {
    Applicant stranger;
    stranger.secs.mrenclave = filled<32>(0x12);
    const auto reply = post(stranger.evidence(machine_));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 403);
    EXPECT_TRUE(reply->body.starts_with("MRENCLAVE 1212")) << reply->body;
}

TEST_F(AuthorityService, serves_and_obeys_what_was_revoked_while_it_runs) {
    httplib::Client client{"127.0.0.1", port_};
    EXPECT_EQ(client.Get("/v1/revocations/current")->status, 204);
    ASSERT_EQ(post(applicant_.evidence(machine_))->status, 200);
    const wire::Revocation entry{.kind = wire::RevokedKind::mrenclave,
                                 .reserved = 0,
                                 .hypervisor_key_id = {},
                                 .subject = applicant_.secs.mrenclave};
    const auto file = directory_ / "revocations.signed";
    ASSERT_TRUE(change_revocations(file, key_, Change::revoke, entry, {}));
    const auto reply = post(applicant_.evidence(machine_));
    EXPECT_EQ(reply->status, 403);
    EXPECT_TRUE(reply->body.ends_with("has been revoked\n")) << reply->body;
    EXPECT_EQ(client.Get("/v1/revocations/current")->body, config::read_file(file).value());
}

TEST_F(AuthorityService, approves_nothing_while_its_list_cannot_be_read) {
    ASSERT_TRUE(directory_.write("revocations.signed", "spoiled").has_filename());
    EXPECT_EQ(post(applicant_.evidence(machine_))->status, 500);
    EXPECT_EQ(httplib::Client("127.0.0.1", port_).Get("/v1/revocations/current")->status, 500);
}

TEST_F(AuthorityService, answers_garbage_with_400_and_never_reads_more_than_evidence_can_have) {
    EXPECT_EQ(post({1, 2, 3})->status, 400);
    EXPECT_EQ(post({})->status, 400);
    EXPECT_EQ(post(EvidenceBytes(kMaxEvidenceSize))->status, 400);
    const auto too_large = post(EvidenceBytes(kMaxEvidenceSize + 1));
    if (too_large) {
        EXPECT_EQ(too_large->status, 413);
    }
}

}  // namespace
}  // namespace sgm::authority
