// SPDX-License-Identifier: MIT
// What a hostile host and network can do with the messages of an IDS, and what an IDS may not say.
#include "remote/heartbeats.hpp"

#include <gtest/gtest.h>

#include <random>

#include "remote/testing.hpp"

namespace sgm::remote {
namespace {

class Heartbeats : public testing::Test {
  protected:
    // Takes a message as the owner does; "" when it was accepted, otherwise why not.
    std::string take(Bytes message) {
        const auto opened = owner_.channel().open(message);
        if (!opened) return std::string{text(opened.error())};
        if (opened->kind != wire::OwnerKind::heartbeat) {
            auto observations = take_in_sequence(*boot_, *opened);
            if (!observations) return observations.error().reason;
            observations_ = std::move(*observations);
            return "";
        }
        auto taken = take_heartbeat(boot_, *opened, trust_);
        alarming_ = !taken && taken.error().alarming;
        if (!taken) return taken.error().reason;
        boot_ = std::move(taken->boot);
        observations_ = std::move(taken->observations);
        progress_ = taken->progress;
        return "";
    }

    // The text of the observation of that kind that the last message made, or "".
    [[nodiscard]] std::string observed(std::string_view kind) const {
        const auto found = std::ranges::find(observations_, kind, &Observation::kind);
        return found == observations_.end() ? "" : found->text;
    }

    const Owner owner_;
    Trust trust_ = owner_.trust();
    FakeIds ids_;
    std::optional<Boot> boot_;
    std::vector<Observation> observations_;
    bool progress_ = false;
    bool alarming_ = false;
};

// --- the good case

TEST_F(Heartbeats, the_first_one_introduces_the_ids_and_says_what_it_is) {
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(boot_->id, ids_.boot());
    EXPECT_EQ(boot_->keys().signing, ids_.attestation.ids.signing);
    const std::string start = observed("start");
    EXPECT_NE(start.find("MRENCLAVE e1e1"), std::string::npos) << start;
    EXPECT_NE(start.find("SOFTWARE SGX: no protection from this host's root"), std::string::npos);
    EXPECT_EQ(observed("state"), "the IDS watches kernel 6.1.0-44-cloud-amd64");
    EXPECT_EQ(observed("gap"), "");
}

TEST_F(Heartbeats, those_that_follow_in_order_reveal_nothing_new) {
    EXPECT_EQ(take(ids_.beat()), "");
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(take(ids_.beat()), "");
        EXPECT_TRUE(progress_);
        EXPECT_TRUE(observations_.empty()) << observations_.front().text;
    }
}

TEST_F(Heartbeats, findings_in_between_keep_the_chain) {
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(take(ids_.finding(a_finding())), "");
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_TRUE(observations_.empty());
}

// --- the network: replay, gap, reorder, other boots, garbage

TEST_F(Heartbeats, a_replayed_message_is_refused_and_raises_no_alarm) {
    const auto first = ids_.beat();
    const auto finding = ids_.finding(a_finding());
    EXPECT_EQ(take(first), "");
    EXPECT_EQ(take(first), "replayed or late: message 1 came after message 1");
    EXPECT_FALSE(alarming_) << "or a host could fill the owner's alerts";
    EXPECT_EQ(take(finding), "");
    EXPECT_EQ(take(finding), "replayed or late: message 2 came after message 2");
    EXPECT_EQ(take(first), "replayed or late: message 1 came after message 2");
    EXPECT_EQ(take(ids_.beat()), "");
}

TEST_F(Heartbeats, a_gap_is_told_with_how_many_are_missing) {
    EXPECT_EQ(take(ids_.beat()), "");
    for (int i = 0; i < 3; ++i)
        (void)ids_.finding(a_finding());
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("gap"), "3 messages of the IDS did not arrive, before message 5");
    (void)ids_.beat();
    EXPECT_EQ(take(ids_.finding(a_finding())), "");
    EXPECT_EQ(observed("gap"), "1 message of the IDS did not arrive, before message 7");
    EXPECT_EQ(take(ids_.beat()), "") << "the chain goes on over the missing beat";
}

TEST_F(Heartbeats, a_gap_before_the_first_one_that_arrives_is_told_too) {
    (void)ids_.beat();
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("gap"), "1 message of the IDS did not arrive, before message 2");
}

TEST_F(Heartbeats, reordered_messages_show_as_a_gap_and_a_refusal) {
    EXPECT_EQ(take(ids_.beat()), "");
    const auto second = ids_.beat();
    const auto third = ids_.beat();
    EXPECT_EQ(take(third), "");
    EXPECT_NE(observed("gap"), "");
    EXPECT_EQ(take(second), "replayed or late: message 2 came after message 3");
    EXPECT_EQ(take(ids_.beat()), "");
}

TEST_F(Heartbeats, an_ids_that_has_not_the_keys_cannot_speak_under_the_same_boot_id) {
    EXPECT_EQ(take(ids_.beat()), "");
    // Attested for us, too, but another start.
    FakeIds other{11};
    other.sequence = 5;
    auto opened = owner_.channel().open(other.beat()).value();
    opened.header.boot = ids_.boot();
    EXPECT_FALSE(take_heartbeat(boot_, opened, trust_));
    auto finding = owner_.channel().open(other.finding(a_finding())).value();
    EXPECT_EQ(take_in_sequence(*boot_, finding).error().reason,
              "a message that is not signed by the IDS of this boot");
}

TEST_F(Heartbeats, a_message_for_another_owner_or_domain_does_not_open) {
    FakeIds other{10, Owner{2}};
    EXPECT_EQ(take(other.beat()), "sealed to another key, or changed on the way");
    EXPECT_FALSE(boot_);
}

TEST_F(Heartbeats, random_bytes_as_a_payload_are_refused) {
    EXPECT_EQ(take(ids_.beat()), "");
    std::mt19937 random{1};
    for (int i = 0; i < 300; ++i) {
        std::vector<std::uint8_t> payload(random() % 2000);
        for (auto& byte : payload)
            byte = static_cast<std::uint8_t>(random());
        EXPECT_FALSE(parse_heartbeat(payload));
        EXPECT_NE(take(ids_.message(wire::OwnerKind::heartbeat, payload)), "");
    }
}

TEST_F(Heartbeats, a_payload_of_another_length_than_it_says_is_refused) {
    const auto opened = owner_.channel().open(ids_.beat()).value();
    std::vector<std::uint8_t> payload = opened.payload;
    EXPECT_TRUE(parse_heartbeat(payload));
    payload.push_back(0);
    EXPECT_FALSE(parse_heartbeat(payload));
    for (std::size_t size = 0; size < opened.payload.size(); ++size) {
        EXPECT_FALSE(parse_heartbeat(Bytes{opened.payload}.first(size)));
    }
    wire::Heartbeat beat = ids_.next;
    beat.check_count = wire::kMaxChecks + 1;
    payload.assign(sizeof(beat) + beat.check_count * sizeof(wire::CheckCoverage), 1);
    Writer{payload}.put(beat);
    EXPECT_FALSE(parse_heartbeat(payload));
}

// Byte by byte, so that an IDS and an owner of different versions agree.
TEST_F(Heartbeats, protection_is_a_word_at_byte_564_and_what_is_not_known_is_refused) {
    std::vector<std::uint8_t> payload(760);
    payload[544] = 2;  // watching
    EXPECT_EQ(parse_heartbeat(payload)->beat.protection, wire::Protection::unknown)
        << "what an IDS says that does not know of it";
    payload[564] = 1;
    EXPECT_EQ(parse_heartbeat(payload)->beat.protection, wire::Protection::unprotected);
    payload[564] = 2;
    EXPECT_EQ(parse_heartbeat(payload)->beat.protection, wire::Protection::protected_domain);
    payload[564] = 3;
    EXPECT_FALSE(parse_heartbeat(payload));
    payload[564] = 2;
    payload[567] = 1;
    EXPECT_FALSE(parse_heartbeat(payload));
}

// --- attestation

TEST_F(Heartbeats, an_attestation_by_another_authority_is_refused) {
    ids_.authority = 51;
    EXPECT_EQ(take(ids_.beat()),
              "the attestation result is not signed by the authority that we pin");
    EXPECT_FALSE(alarming_) << "anyone can be an authority of their own";
}

TEST_F(Heartbeats, a_changed_attestation_is_refused_whatever_bit_was_changed) {
    const auto opened = owner_.channel().open(ids_.beat()).value();
    const auto parsed = parse_heartbeat(opened.payload).value();
    ASSERT_TRUE(verify_attestation(parsed.beat.attestation, trust_));
    for (std::size_t bit = 0; bit < sizeof(wire::SignedAttestationResult) * 8; ++bit) {
        wire::SignedAttestationResult changed = parsed.beat.attestation;
        mutable_bytes_of(changed)[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
        EXPECT_FALSE(verify_attestation(changed, trust_)) << bit;
    }
}

TEST_F(Heartbeats, what_the_authority_signed_for_somebody_or_something_else_is_refused) {
    const wire::AttestationResult sound = ids_.attestation;
    ids_.attestation.domain[0] ^= 1;
    EXPECT_NE(take(ids_.beat()).find("attested for domain 6e1c0b4e"), std::string::npos);
    EXPECT_TRUE(alarming_);
    ids_.attestation = sound;
    ids_.attestation.owner.signing[0] ^= 1;
    EXPECT_EQ(take(ids_.beat()), "the IDS is attested for another owner");
    ids_.attestation = sound;
    ids_.attestation.owner.sealing[0] ^= 1;
    EXPECT_EQ(take(ids_.beat()), "the IDS is attested for another owner");
    ids_.attestation = sound;
    ids_.attestation.label[15] = 'x';
    EXPECT_EQ(take(ids_.beat()),
              "the authority signed something that is not an attestation result");
    ids_.attestation = sound;
    ids_.attestation.flags |= wire::kAttestedDebug;
    EXPECT_NE(take(ids_.beat()).find("debug enclave"), std::string::npos);
    ids_.attestation = sound;
    ids_.attestation.flags |= 1u << 7;
    EXPECT_NE(take(ids_.beat()).find("does not know"), std::string::npos);
    ids_.attestation = sound;
    ids_.attestation.ids.signing = signing_pair(12).public_key();
    EXPECT_EQ(take(ids_.beat()), "a heartbeat that is not signed by the IDS that it names");
    EXPECT_FALSE(boot_);
}

TEST_F(Heartbeats, software_sgx_is_heard_only_where_it_is_allowed) {
    trust_.allow_software_sgx = false;
    EXPECT_EQ(take(ids_.beat()),
              "SOFTWARE SGX: no protection from this host's root: not allowed here "
              "(allow_software_sgx = false)");
    EXPECT_TRUE(alarming_);
    ids_.attestation.flags = 0;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_FALSE(boot_->software_sgx());
    EXPECT_EQ(observed("start").find("SOFTWARE"), std::string::npos);
}

// --- the chain

TEST_F(Heartbeats, a_broken_hash_chain_is_refused_with_an_alarm) {
    EXPECT_EQ(take(ids_.beat()), "");
    ids_.next.previous_beat[0] ^= 1;
    EXPECT_EQ(take(ids_.beat()), "the hash chain is broken at beat 2");
    EXPECT_TRUE(alarming_);
}

TEST_F(Heartbeats, a_first_beat_that_claims_a_past_is_refused) {
    ids_.next.previous_beat[0] = 1;
    EXPECT_EQ(take(ids_.beat()), "the hash chain is broken at beat 1");
}

TEST_F(Heartbeats, beat_numbers_go_neither_back_nor_ahead_of_the_messages) {
    EXPECT_EQ(take(ids_.beat()), "");
    ids_.next.beat = 0;
    EXPECT_EQ(take(ids_.beat()), "beat 1 came after beat 1: the IDS contradicts itself");
    ids_.next.beat = 5;
    ids_.sequence = 1;
    EXPECT_EQ(take(ids_.beat()), "beat 6 follows beat 1, but only 0 messages are missing");
}

// --- what beats reveal

TEST_F(Heartbeats, a_beat_without_scan_progress_is_a_failure_told_once_until_it_scans_again) {
    EXPECT_EQ(take(ids_.beat()), "");
    ids_.scans = false;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_FALSE(progress_);
    EXPECT_EQ(observed("stalled"), "the IDS beats but does not scan: beat 2 still shows scan 1");
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_FALSE(progress_);
    EXPECT_TRUE(observations_.empty());
    ids_.scans = true;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_TRUE(progress_);
    EXPECT_EQ(observed("stalled"), "the IDS scans again");
}

TEST_F(Heartbeats, an_ids_that_is_not_watching_says_why_and_need_not_scan) {
    ids_.next.state = wire::IdsState::unsupported;
    wire::set_text(ids_.next.reason, "no BTF in 4.9.0");
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_TRUE(progress_);
    EXPECT_EQ(observed("state"), "unsupported kernel: no BTF in 4.9.0; the VM is not watched");
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_TRUE(observations_.empty());
    ids_.next.state = wire::IdsState::watching;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("state"), "the IDS watches kernel 6.1.0-44-cloud-amd64");
}

TEST_F(Heartbeats, tampering_on_the_host_is_told) {
    EXPECT_EQ(take(ids_.beat()), "");
    ids_.next.refused_answers = 1;
    ids_.next.registrations = 2;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("tampered"),
              "the host tampered with 1 answer of the hypervisor: refused, session closed and "
              "registered anew");
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_TRUE(observations_.empty()) << "told when it grows, not for ever";
    ids_.next.registrations = 3;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("registered"),
              "the IDS registered anew with the hypervisor (registration 3)");
}

TEST_F(Heartbeats, a_check_that_could_not_run_is_told_with_the_reason) {
    wire::CheckCoverage check{};
    wire::set_text(check.check, "process-rules");
    check.state = wire::CheckState::ran;
    ids_.checks = {check};
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("coverage"), "");
    ids_.checks.front().state = wire::CheckState::failed;
    wire::set_text(ids_.checks.front().why, "a fault at level 2");
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("coverage"), "check process-rules could not run: a fault at level 2");
    ids_.checks.front().state = wire::CheckState::ran;
    EXPECT_EQ(take(ids_.beat()), "");
    EXPECT_EQ(observed("coverage"), "check process-rules runs again");
}

}  // namespace
}  // namespace sgm::remote
