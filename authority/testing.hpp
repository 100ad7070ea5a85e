// SPDX-License-Identifier: MIT
// For tests: a software machine whose enclaves bring evidence, and an authority that enrolled its
// hypervisor and owner.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "authority/policy.hpp"
#include "config/file.hpp"
#include "config/temporary_directory.hpp"
#include "crypto/hash.hpp"
#include "crypto/keys.hpp"
#include "sgx/loader/soft/platform.hpp"
#include "sgx/loader/soft/quoting.hpp"

namespace sgm::authority {

using EvidenceBytes = std::vector<std::uint8_t>;

template <std::size_t N>
std::array<std::uint8_t, N> filled(std::uint8_t value) {
    std::array<std::uint8_t, N> bytes;
    bytes.fill(value);
    return bytes;
}

// One with another root for each object; making one takes some milliseconds.
class Machine final {
  public:
    Machine() {
        if (!sgx::soft::QuotingEnclave::create(directory_.path())) {
            throw std::runtime_error{"no software quoting enclave"};
        }
    }

    [[nodiscard]] std::filesystem::path root_path() const { return directory_ / "root.pem"; }
    [[nodiscard]] sgx::RootCertificate root() const {
        return sgx::RootCertificate::from_pem(config::read_file(root_path()).value()).value();
    }

    [[nodiscard]] std::vector<std::uint8_t> quote(const sgx::soft::Secs& secs,
                                                  const sgx::ReportData& data) const {
        const auto fuse_key = directory_ / "fuse.key";
        const auto quoting = sgx::soft::QuotingEnclave::load(directory_.path(), fuse_key);
        const sgx::soft::SoftPlatform platform{
            sgx::soft::load_or_create_fuse_key(fuse_key).value()};
        const sgx::Report report =
            platform.create_report(secs, sgx::soft::QuotingEnclave::target_info(), data);
        return quoting->quote(bytes_of(report)).value();
    }

  private:
    config::TemporaryDirectory directory_;
};

// An enclave that asks to register; tests change what it is or says.
struct Applicant {
    sgx::soft::Secs secs{.attributes = {.flags = sgx::kAttributeInit | sgx::kAttributeMode64,
                                        .xfrm = sgx::kXfrmLegacy},
                         .miscselect = 0,
                         .mrenclave = filled<32>(0xe1),
                         .mrsigner = filled<32>(0x51),
                         .isvprodid = 7,
                         .isvsvn = 3,
                         .isvextprodid = {},
                         .isvfamilyid = {}};
    wire::RegistrationBinding binding{.encapsulation = filled<32>(1),
                                      .sealed_secret = filled<48>(2),
                                      .registration_nonce = filled<32>(3),
                                      .domain = filled<16>(4),
                                      .ids = {.signing = filled<32>(5), .sealing = filled<32>(6)}};
    wire::Digest hypervisor_key_id = filled<32>(7);

    [[nodiscard]] EvidenceBytes evidence(const Machine& machine) const {
        sgx::ReportData data{};
        std::ranges::copy(crypto::sha256(bytes_of(binding)), data.begin());
        return evidence_with(machine.quote(secs, data));
    }

    [[nodiscard]] EvidenceBytes evidence_with(Bytes quote) const {
        const wire::EvidenceHeader header{.magic = wire::kEvidenceMagic,
                                          .version = 1,
                                          .binding = binding,
                                          .hypervisor_key_id = hypervisor_key_id,
                                          .quote_size = static_cast<std::uint32_t>(quote.size()),
                                          .reserved = 0};
        EvidenceBytes evidence(sizeof(header) + quote.size());
        Writer writer{evidence};
        writer.put(header);
        writer.put_bytes(quote);
        return evidence;
    }
};

// Knows the applicant's domain and approves its MRENCLAVE.
inline Policy policy_for(const Machine& machine, const Applicant& applicant = {}) {
    Policy policy{
        .approvals = {}, .domains = {}, .software_root = machine.root(), .lifetime_seconds = 600};
    policy.approvals.push_back(
        {.enclave = ApprovedEnclave{.mrenclave = applicant.secs.mrenclave}, .domains = {}});
    policy.domains.push_back({.uuid = applicant.binding.domain,
                              .hypervisor_key_id = applicant.hypervisor_key_id,
                              .owner = {.signing = filled<32>(8), .sealing = filled<32>(9)}});
    return policy;
}

}  // namespace sgm::authority
