// SPDX-License-Identifier: MIT
// For tests: an IDS that says what the test wants, an authority that vouches for it, and the owner
// to whom both belong.
#pragma once

#include <algorithm>
#include <vector>

#include "crypto/hash.hpp"
#include "crypto/keys.hpp"
#include "ids/owner_message.hpp"
#include "remote/heartbeats.hpp"
#include "remote/owner_channel.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::remote {

using MessageBytes = std::vector<std::uint8_t>;

template <std::size_t N>
std::array<std::uint8_t, N> filled(std::uint8_t value) {
    std::array<std::uint8_t, N> bytes;
    bytes.fill(value);
    return bytes;
}

// Key pairs that are the same in each test, different for each number.
inline crypto::SigningKeyPair signing_pair(std::uint8_t number) {
    return crypto::SigningKeyPair::from_seed(filled<32>(number));
}
inline crypto::SealingKeyPair sealing_pair(std::uint8_t number) {
    return crypto::SealingKeyPair::from_private(filled<32>(static_cast<std::uint8_t>(number * 8)));
}

inline constexpr wire::Uuid kDomain{0x6f, 0x1c, 0x0b, 0x4e, 0x1d, 0x2a, 0x4c, 0x55,
                                    0x9a, 0x37, 0x0c, 0x8d, 0x5e, 0x2b, 0x7f, 0x10};

struct Owner {
    std::uint8_t number = 1;

    [[nodiscard]] OwnerChannel channel() const {
        return {signing_pair(number), sealing_pair(number), kDomain};
    }
    [[nodiscard]] wire::OwnerKeys keys() const { return channel().public_keys(); }
    [[nodiscard]] Trust trust() const {
        return {.authority = signing_pair(50).public_key(),
                .domain = kDomain,
                .owner = keys(),
                .allow_software_sgx = true};
    }
};

// A watching IDS. Each beat says what `next` says when it is made; what must grow by itself does.
class FakeIds final {
  public:
    explicit FakeIds(std::uint8_t number = 10, const Owner& owner = {})
        : signing_{signing_pair(number)},
          sealing_{sealing_pair(number)},
          boot_{filled<16>(number)},
          owner_{owner} {
        attestation = {.label = wire::kAttestationLabel,
                       .registration_nonce = filled<32>(1),
                       .binding_digest = filled<32>(2),
                       .domain = kDomain,
                       .hypervisor_key_id = filled<32>(3),
                       .owner = owner.keys(),
                       .ids = {.signing = signing_.public_key(), .sealing = sealing_.public_key()},
                       .mrenclave = filled<32>(0xe1),
                       .mrsigner = filled<32>(0x51),
                       .isv_prod_id = 1,
                       .isv_svn = 1,
                       .flags = wire::kAttestedSoftwareSgx,
                       .lifetime_seconds = 600,
                       .reserved = 0};
        next.state = wire::IdsState::watching;
        next.interval_ms = 1000;
        next.process_count = 211;
        next.registrations = 1;
        wire::set_text(next.kernel, "6.1.0-44-cloud-amd64");
    }

    [[nodiscard]] const wire::BootId& boot() const { return boot_; }
    [[nodiscard]] const crypto::SealingKeyPair& sealing() const { return sealing_; }

    // The next heartbeat, as it would be sent.
    [[nodiscard]] MessageBytes beat() {
        ++next.beat;
        if (scans && next.state == wire::IdsState::watching) ++next.scan;
        next.attestation = {.result = attestation,
                            .signature = signing_pair(authority).sign({bytes_of(attestation)})};
        next.check_count = static_cast<std::uint32_t>(checks.size());
        std::vector<std::uint8_t> payload(sizeof(next) +
                                          checks.size() * sizeof(wire::CheckCoverage));
        Writer writer{payload};
        writer.put(next);
        for (const wire::CheckCoverage& check : checks)
            writer.put(check);
        next.previous_beat = crypto::sha256(payload);
        return message(wire::OwnerKind::heartbeat, payload);
    }

    [[nodiscard]] MessageBytes finding(const wire::Finding& finding) {
        return message(wire::OwnerKind::finding, bytes_of(finding));
    }

    [[nodiscard]] MessageBytes answer(std::uint64_t query,
                                      const std::vector<wire::ProcessRow>& rows) {
        wire::Answer answer{};
        answer.query = query;
        answer.status = wire::AnswerStatus::ok;
        answer.row_count = answer.total_rows = static_cast<std::uint32_t>(rows.size());
        answer.row_size = sizeof(wire::ProcessRow);
        std::vector<std::uint8_t> payload(sizeof(answer) + rows.size() * sizeof(wire::ProcessRow));
        Writer writer{payload};
        writer.put(answer);
        for (const wire::ProcessRow& row : rows)
            writer.put(row);
        return message(wire::OwnerKind::answer, payload);
    }

    // Any payload, in sequence, signed and sealed.
    [[nodiscard]] MessageBytes message(wire::OwnerKind kind, Bytes payload) {
        wire::OwnerHeader header{};
        header.domain = kDomain;
        header.boot = boot_;
        header.sequence = ++sequence;
        return ids::seal_owner_message(header, kind, payload, signing_, owner_.keys().sealing)
            .value();
    }

    // Opens a command of the owner as an IDS would; nullopt when it would refuse.
    [[nodiscard]] std::optional<ids::OpenedMessage> open(Bytes command) {
        auto opened = ids::open_owner_message(command, sealing_);
        if (!opened || !ids::verify_sender(*opened, owner_.keys().signing) ||
            opened->header.domain != kDomain || opened->header.boot != boot_ ||
            opened->header.sequence <= taken_) {
            return std::nullopt;
        }
        taken_ = opened->header.sequence;
        return std::move(*opened);
    }

    wire::Heartbeat next{};
    wire::AttestationResult attestation{};
    std::vector<wire::CheckCoverage> checks;
    std::uint64_t sequence = 0;
    bool scans = true;            // a scan between any two beats
    std::uint8_t authority = 50;  // whose word the attestation is

  private:
    crypto::SigningKeyPair signing_;
    crypto::SealingKeyPair sealing_;
    wire::BootId boot_;
    Owner owner_;
    std::uint64_t taken_ = 0;
};

inline wire::Finding a_finding() {
    wire::Finding finding{};
    finding.id = 1;
    finding.state = wire::FindingState::raised;
    finding.severity = wire::Severity::critical;
    finding.pid = 812;
    finding.parent_pid = 700;
    finding.uid = 1000;
    wire::set_text(finding.comm, "nc");
    wire::set_text(finding.parent_comm, "sh");
    wire::set_text(finding.check, "process-rules");
    wire::set_text(finding.rule, "no nc");
    wire::set_text(finding.text, "A program runs that the rules deny.");
    return finding;
}

inline wire::ProcessRow a_process(std::int32_t pid, std::string_view comm) {
    wire::ProcessRow row{};
    row.pid = row.tgid = pid;
    row.ppid = 1;
    row.uid = 1000;
    row.state = 1;
    row.start_time_ns = 12'345'000'000;
    wire::set_text(row.comm, comm);
    return row;
}

}  // namespace sgm::remote
