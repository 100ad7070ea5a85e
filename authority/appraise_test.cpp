// SPDX-License-Identifier: MIT
#include "authority/appraise.hpp"

#include <gtest/gtest.h>

#include <random>

#include "authority/testing.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::authority {
namespace {

using Kind = Refusal::Kind;

const Machine& machine() {
    static const Machine made;
    return made;
}

class Appraise : public testing::Test {
  protected:
    [[nodiscard]] auto judge(Bytes evidence) const {
        return appraise(evidence, policy_, revocations_, key_, now_);
    }

    [[nodiscard]] std::string refusal(Bytes evidence, Kind kind = Kind::refused) const {
        const auto result = judge(evidence);
        if (result) return "accepted";
        EXPECT_EQ(result.error().kind, kind) << result.error().reason;
        return result.error().reason;
    }

    const std::chrono::sys_seconds now_ =
        std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    const crypto::SigningKeyPair key_ = crypto::SigningKeyPair::from_seed(filled<32>(11));
    Applicant applicant_;
    Policy policy_ = policy_for(machine());
    hypervisor::Revocations revocations_;
};

TEST_F(Appraise, an_approved_enclave_gets_a_signed_result_that_names_what_was_appraised) {
    const auto signed_result = judge(applicant_.evidence(machine()));
    ASSERT_TRUE(signed_result) << signed_result.error().reason;
    const wire::AttestationResult& result = signed_result->result;
    EXPECT_TRUE(crypto::verify(key_.public_key(), signed_result->signature, {bytes_of(result)}));
    EXPECT_EQ(result.label, wire::kAttestationLabel);
    EXPECT_EQ(result.registration_nonce, applicant_.binding.registration_nonce);
    EXPECT_EQ(result.binding_digest, crypto::sha256(bytes_of(applicant_.binding)));
    EXPECT_EQ(result.domain, applicant_.binding.domain);
    EXPECT_EQ(result.hypervisor_key_id, applicant_.hypervisor_key_id);
    EXPECT_EQ(result.owner.signing, filled<32>(8));
    EXPECT_EQ(result.owner.sealing, filled<32>(9));
    EXPECT_EQ(result.ids.signing, applicant_.binding.ids.signing);
    EXPECT_EQ(result.ids.sealing, applicant_.binding.ids.sealing);
    EXPECT_EQ(result.mrenclave, applicant_.secs.mrenclave);
    EXPECT_EQ(result.mrsigner, applicant_.secs.mrsigner);
    EXPECT_EQ(result.isv_prod_id, 7);
    EXPECT_EQ(result.isv_svn, 3);
    EXPECT_EQ(result.lifetime_seconds, 600u);
    EXPECT_EQ(result.flags, std::uint32_t{wire::kAttestedSoftwareSgx})
        << "a software enclave is told as one";
    EXPECT_EQ(result.reserved, 0u);
}

TEST_F(Appraise, another_mrenclave_is_refused_by_name) {
    applicant_.secs.mrenclave[0] = 0x12;
    const std::string reason = refusal(applicant_.evidence(machine()));
    EXPECT_TRUE(reason.starts_with("MRENCLAVE 12e1")) << reason;
    EXPECT_NE(reason.find(" is not approved for domain 04040404-0404-0404-0404-040404040404"),
              std::string::npos)
        << reason;
    EXPECT_LT(reason.size(), sizeof(wire::AuthorityReply::reason));
}

TEST_F(Appraise, a_signer_is_approved_for_one_product_from_a_version_on) {
    policy_.approvals = {{.enclave = ApprovedSigner{.mrsigner = applicant_.secs.mrsigner,
                                                    .product_id = 7,
                                                    .minimum_svn = 3},
                          .domains = {}}};
    applicant_.secs.mrenclave = filled<32>(0x99);
    EXPECT_TRUE(judge(applicant_.evidence(machine())));
    applicant_.secs.isvsvn = 4;
    EXPECT_TRUE(judge(applicant_.evidence(machine())));
    applicant_.secs.isvsvn = 2;
    EXPECT_FALSE(judge(applicant_.evidence(machine())));
    applicant_.secs.isvsvn = 3;
    applicant_.secs.isvprodid = 8;
    EXPECT_FALSE(judge(applicant_.evidence(machine())));
    applicant_.secs.isvprodid = 7;
    applicant_.secs.mrsigner[31] ^= 1;
    EXPECT_FALSE(judge(applicant_.evidence(machine())));
}

TEST_F(Appraise, an_approval_for_some_domains_is_none_for_others) {
    policy_.approvals.front().domains = {filled<16>(0x44)};
    EXPECT_FALSE(judge(applicant_.evidence(machine())));
    policy_.approvals.front().domains.push_back(applicant_.binding.domain);
    EXPECT_TRUE(judge(applicant_.evidence(machine())));
}

TEST_F(Appraise, a_debug_enclave_is_refused_whatever_the_policy_says) {
    applicant_.secs.attributes.flags |= sgx::kAttributeDebug;
    EXPECT_NE(refusal(applicant_.evidence(machine())).find("debug"), std::string::npos);
}

TEST_F(Appraise, what_was_revoked_is_refused_whatever_the_policy_says) {
    wire::SignedRevocations word{};
    word.list.label = wire::kRevocationLabel;
    word.list.sequence = 1;
    word.list.count = 1;
    word.list.entries[0] = {.kind = wire::RevokedKind::mrenclave,
                            .reserved = 0,
                            .hypervisor_key_id = {},
                            .subject = applicant_.secs.mrenclave};
    word.signature = key_.sign({bytes_of(word.list)});
    ASSERT_EQ(revocations_.take(word, key_.public_key()), wire::Status::ok);
    EXPECT_TRUE(refusal(applicant_.evidence(machine())).ends_with("has been revoked"));
    word.list.entries[0].subject[0] ^= 1;
    word.list.sequence = 2;
    word.signature = key_.sign({bytes_of(word.list)});
    ASSERT_EQ(revocations_.take(word, key_.public_key()), wire::Status::ok);
    EXPECT_EQ(refusal(applicant_.evidence(machine())), "accepted");
}

TEST_F(Appraise, a_domain_that_is_not_enrolled_is_refused) {
    policy_.domains.front().uuid = filled<16>(0x44);
    EXPECT_EQ(refusal(applicant_.evidence(machine())),
              "domain 04040404-0404-0404-0404-040404040404 is not enrolled here");
}

TEST_F(Appraise, a_hypervisor_that_is_not_the_enrolled_one_is_refused) {
    applicant_.hypervisor_key_id[0] ^= 1;
    EXPECT_NE(refusal(applicant_.evidence(machine())).find("is not the one that is enrolled"),
              std::string::npos);
}

TEST_F(Appraise, a_quote_for_another_binding_is_refused_whatever_part_of_it_differs) {
    const EvidenceBytes evidence = applicant_.evidence(machine());
    const Bytes quote = Bytes{evidence}.subspan(sizeof(wire::EvidenceHeader));
    const std::string expected = "the quote was made for something else than this registration";
    for (std::uint8_t* byte :
         {&applicant_.binding.encapsulation[0], &applicant_.binding.sealed_secret[47],
          &applicant_.binding.registration_nonce[31], &applicant_.binding.ids.signing[0],
          &applicant_.binding.ids.sealing[31]}) {
        *byte ^= 1;
        EXPECT_EQ(refusal(applicant_.evidence_with(quote)), expected);
        *byte ^= 1;
    }
    EXPECT_TRUE(judge(applicant_.evidence_with(quote)));
}

TEST_F(Appraise, report_data_with_anything_after_the_digest_is_refused) {
    sgx::ReportData data{};
    std::ranges::copy(crypto::sha256(bytes_of(applicant_.binding)), data.begin());
    data[63] = 1;
    EXPECT_FALSE(judge(applicant_.evidence_with(machine().quote(applicant_.secs, data))));
}

TEST_F(Appraise, a_quote_of_a_machine_that_is_not_accepted_is_refused) {
    const Machine other;
    EXPECT_NE(refusal(applicant_.evidence(other)).find("does not lead to the software root"),
              std::string::npos);
}

TEST_F(Appraise, a_software_quote_is_refused_where_software_sgx_is_not_allowed) {
    policy_.software_root.reset();
    EXPECT_NE(refusal(applicant_.evidence(machine())).find("allow_software_sgx is false"),
              std::string::npos);
}

TEST_F(Appraise, a_root_that_has_expired_vouches_for_nothing) {
    const auto later = now_ + std::chrono::years{200};
    const auto result =
        appraise(applicant_.evidence(machine()), policy_, revocations_, key_, later);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason, "a certificate of the quote is not valid at this time");
}

TEST_F(Appraise, every_truncation_and_extension_is_malformed) {
    EvidenceBytes evidence = applicant_.evidence(machine());
    for (std::size_t size = 0; size < evidence.size(); ++size) {
        (void)refusal(Bytes{evidence}.first(size), Kind::malformed);
    }
    evidence.push_back(0);
    (void)refusal(evidence, Kind::malformed);
}

TEST_F(Appraise, a_header_that_is_not_ours_is_malformed) {
    const EvidenceBytes evidence = applicant_.evidence(machine());
    for (const std::size_t at :
         {offsetof(wire::EvidenceHeader, magic), offsetof(wire::EvidenceHeader, version),
          offsetof(wire::EvidenceHeader, quote_size), offsetof(wire::EvidenceHeader, reserved)}) {
        EvidenceBytes changed = evidence;
        changed[at] ^= 0x80;
        (void)refusal(changed, Kind::malformed);
    }
    EvidenceBytes huge = applicant_.evidence_with(EvidenceBytes(wire::kMaxQuoteSize + 1));
    (void)refusal(huge, Kind::malformed);
}

TEST_F(Appraise, no_changed_bit_of_the_evidence_is_accepted) {
    EvidenceBytes evidence = applicant_.evidence(machine());
    std::mt19937 random{1};
    for (int i = 0; i < 3000; ++i) {
        const std::size_t bit = random() % (evidence.size() * 8);
        const auto mask = static_cast<std::uint8_t>(1u << bit % 8);
        evidence[bit / 8] ^= mask;
        EXPECT_FALSE(judge(evidence)) << "bit " << bit;
        evidence[bit / 8] ^= mask;
    }
    EXPECT_TRUE(judge(evidence));
}

}  // namespace
}  // namespace sgm::authority
