// SPDX-License-Identifier: MIT
#include "ids/testing/world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "crypto/hash.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/fixed_text.hpp"
#include "wire/ring.hpp"

namespace sgm::ids::testing {

namespace {

constexpr std::uint64_t kRamSize = 16u << 20;

Message to_message(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

std::expected<std::size_t, EnvironmentError> copy_into(const Message& message, MutableBytes into) {
    if (message.size() > into.size()) return std::unexpected(EnvironmentError::too_large);
    std::ranges::copy(message, into.begin());
    return message.size();
}

}  // namespace

World::World()
    : authority{crypto::SigningKeyPair::generate().value()},
      guest{kRamSize},
      port{{&guest}},
      hypervisor_key{crypto::SealingKeyPair::generate().value()},
      enrolled_key_id{crypto::sha256(hypervisor_key.public_key())},
      core{std::make_unique<hypervisor::Core>(
          port, crypto::SealingKeyPair::from_private(hypervisor_key.private_key().first<32>()),
          authority.public_key(), /*allow_software_sgx=*/true)},
      owner_signing{crypto::SigningKeyPair::generate().value()},
      owner_sealing{crypto::SealingKeyPair::generate().value()} {}

std::expected<std::size_t, EnvironmentError> World::call_hypervisor(Bytes call,
                                                                    MutableBytes reply) {
    Message to_hypervisor = to_message(call);
    if (drops(to_hypervisor)) return std::unexpected(EnvironmentError::unreachable);
    on_call(to_hypervisor);
    carried.push_back(to_hypervisor);
    Message from_hypervisor(wire::kRingMaxReply);
    from_hypervisor.resize(core->sgm_op(to_hypervisor, from_hypervisor));
    on_reply(from_hypervisor);
    carried.push_back(from_hypervisor);
    return copy_into(from_hypervisor, reply);
}

std::expected<void, EnvironmentError> World::send(wire::Peer peer, Bytes message) {
    if (peer == wire::Peer::log) {
        log_lines.emplace_back(message.begin(), message.end());
        return {};
    }
    carried.push_back(to_message(message));
    switch (peer) {
        case wire::Peer::quoting: quote_ = to_message(message); break;
        case wire::Peer::authority: verdict_ = appraise(message); break;
        case wire::Peer::owner: deliver_to_owner(message); break;
        case wire::Peer::log: break;
        case wire::Peer::storage:
            if (!stores) return std::unexpected(EnvironmentError::unreachable);
            stored = to_message(message);
            break;
    }
    return {};
}

std::expected<std::size_t, EnvironmentError> World::receive(wire::Peer peer, std::uint64_t,
                                                            MutableBytes into) {
    if (peer == wire::Peer::quoting) return copy_into(quote_, into);
    if (peer == wire::Peer::authority) {
        if (!authority_answers || verdict_.empty()) {
            return std::unexpected(EnvironmentError::nothing);
        }
        return copy_into(std::exchange(verdict_, {}), into);
    }
    if (peer == wire::Peer::storage) {
        if (!stored) return std::unexpected(EnvironmentError::nothing);
        return copy_into(*stored, into);
    }
    if (to_ids.empty()) return std::unexpected(EnvironmentError::nothing);
    const Message message = std::move(to_ids.front());
    to_ids.pop_front();
    return copy_into(message, into);
}

std::expected<void, EnvironmentError> World::wait(std::uint64_t wait_ns) {
    if (waits_left-- <= 0) return std::unexpected(EnvironmentError::stopped);
    port.clock_ns += wait_ns;
    on_wait();
    return std::unexpected(EnvironmentError::nothing);
}

std::expected<std::array<std::uint8_t, 432>, EnvironmentError> World::report(
    const std::array<std::uint8_t, 64>& report_data) {
    std::array<std::uint8_t, 432> report{};
    std::ranges::copy(report_data, report.begin());
    return report;
}

Message World::appraise(Bytes evidence) {
    Reader reader{evidence};
    const auto header = reader.take<wire::EvidenceHeader>();
    EXPECT_TRUE(header && header->quote_size == reader.rest().size());
    const wire::Digest digest = crypto::sha256(bytes_of(header->binding));
    EXPECT_TRUE(std::ranges::equal(digest, reader.rest().first(32)));
    ids_ = header->binding.ids;

    wire::AuthorityReply reply{};
    if (header->hypervisor_key_id != enrolled_key_id && !refusal) {
        wire::set_text(reply.reason, "the hypervisor's key is not enrolled");
        return to_message(bytes_of(reply));
    }
    if (refusal) {
        wire::set_text(reply.reason, *refusal);
        return to_message(bytes_of(reply));
    }
    wire::SignedAttestationResult signed_result{};
    wire::AttestationResult& result = signed_result.result;
    result.label = wire::kAttestationLabel;
    result.registration_nonce = header->binding.registration_nonce;
    result.binding_digest = digest;
    result.domain = header->binding.domain;
    result.hypervisor_key_id = header->hypervisor_key_id;
    result.owner = {owner_signing.public_key(), owner_sealing.public_key()};
    result.ids = header->binding.ids;
    result.flags = wire::kAttestedSoftwareSgx;
    result.lifetime_seconds = lifetime_seconds;
    on_attestation(result);
    signed_result.signature =
        (false_authority ? *false_authority : authority).sign({bytes_of(result)});
    reply.accepted = 1;
    Message out = to_message(bytes_of(reply));
    const Bytes body = bytes_of(signed_result);
    out.insert(out.end(), body.begin(), body.end());
    return out;
}

void World::deliver_to_owner(Bytes message) {
    auto opened = open_owner_message(message, owner_sealing);
    ASSERT_TRUE(opened.has_value());
    ASSERT_TRUE(verify_sender(*opened, ids_.signing).has_value());
    boot_ = opened->header.boot;
    owner_got.push_back(std::move(*opened));
}

void World::command(wire::OwnerKind kind, Bytes payload) {
    wire::OwnerHeader header{};
    header.domain = domain();
    header.boot = boot_;
    header.sequence = ++command_sequence_;
    to_ids.push_back(
        seal_owner_message(header, kind, payload, owner_signing, ids_.sealing).value());
}

std::vector<wire::Heartbeat> World::beats() const {
    std::vector<wire::Heartbeat> out;
    for (const OpenedMessage& message : owner_got) {
        if (message.kind != wire::OwnerKind::heartbeat) continue;
        out.push_back(Reader{message.payload}.take<wire::Heartbeat>().value());
    }
    return out;
}

std::vector<wire::Finding> World::findings() const {
    std::vector<wire::Finding> out;
    for (const OpenedMessage& message : owner_got) {
        if (message.kind != wire::OwnerKind::finding) continue;
        out.push_back(Reader{message.payload}.take<wire::Finding>().value());
    }
    return out;
}

}  // namespace sgm::ids::testing
