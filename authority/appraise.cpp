// SPDX-License-Identifier: MIT
#include "authority/appraise.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "config/text.hpp"
#include "crypto/hash.hpp"
#include "crypto/secret.hpp"
#include "sgx/quote/verify.hpp"

namespace sgm::authority {
namespace {

using config::to_hex;
using config::uuid_text;

std::unexpected<Refusal> malformed(std::string reason) {
    return std::unexpected{Refusal{Refusal::Kind::malformed, std::move(reason)}};
}

std::unexpected<Refusal> refused(std::string reason) {
    return std::unexpected{Refusal{Refusal::Kind::refused, std::move(reason)}};
}

struct Evidence {
    wire::EvidenceHeader header;
    Bytes quote;
};

std::expected<Evidence, Refusal> parse_evidence(Bytes bytes) {
    Reader reader{bytes};
    const auto header = reader.take<wire::EvidenceHeader>();
    if (!header) return malformed("the evidence is truncated");
    if (header->magic != wire::kEvidenceMagic) return malformed("this is not evidence");
    if (header->version != 1) return malformed("the evidence is of an unknown version");
    if (header->reserved != 0) return malformed("the evidence has reserved bits set");
    if (header->quote_size > wire::kMaxQuoteSize || header->quote_size != reader.rest().size()) {
        return malformed("the quote has not the size that the evidence announces");
    }
    return Evidence{.header = *header, .quote = reader.rest()};
}

std::expected<const Domain*, Refusal> find_domain(const wire::EvidenceHeader& header,
                                                  const Policy& policy) {
    const wire::Uuid& uuid = header.binding.domain;
    const auto domain = std::ranges::find(policy.domains, uuid, &Domain::uuid);
    if (domain == policy.domains.end()) {
        return refused(fmt::format("domain {} is not enrolled here", uuid_text(uuid)));
    }
    if (domain->hypervisor_key_id != header.hypervisor_key_id) {
        return refused(fmt::format(
            "the hypervisor with key id {} is not the one that is enrolled for domain {}",
            to_hex(header.hypervisor_key_id), uuid_text(uuid)));
    }
    return &*domain;
}

// The report of an enclave that really runs, under a root that the policy accepts.
std::expected<sgx::ReportBody, Refusal> verify(Bytes quote_bytes, const Policy& policy,
                                               std::chrono::sys_seconds now) {
    const auto quote = sgx::parse_quote(quote_bytes);
    if (!quote) return refused(std::string{text(quote.error())});
    if (!policy.software_root) {
        return refused(
            "no quote is accepted: allow_software_sgx is false, and hardware quotes are refused "
            "because TCB collateral is not verified yet");
    }
    const auto verified = sgx::verify_quote(*quote, *policy.software_root, now);
    if (verified) return quote->report;
    if (verified.error() == sgx::QuoteError::root) {
        return refused(
            "the quote does not lead to the software root that is accepted here, and hardware "
            "quotes are refused because TCB collateral is not verified yet");
    }
    return refused(std::string{text(verified.error())});
}

bool approves(const Approval& approval, const sgx::ReportBody& report, const wire::Uuid& domain) {
    const auto& domains = approval.domains;
    if (!domains.empty() && std::ranges::count(domains, domain) == 0) return false;
    if (const auto* enclave = std::get_if<ApprovedEnclave>(&approval.enclave)) {
        return enclave->mrenclave == report.mrenclave;
    }
    const auto& signer = std::get<ApprovedSigner>(approval.enclave);
    return signer.mrsigner == report.mrsigner && signer.product_id == report.isvprodid &&
           report.isvsvn >= signer.minimum_svn;
}

std::expected<void, Refusal> check_enclave(const sgx::ReportBody& report, const Policy& policy,
                                           const wire::Uuid& domain) {
    if ((report.attributes.flags & sgx::kAttributeDebug) != 0) {
        return refused(
            fmt::format("MRENCLAVE {} runs as a debug enclave, whose memory the host "
                        "can read: never approved",
                        to_hex(report.mrenclave)));
    }
    const bool approved = std::ranges::any_of(policy.approvals, [&](const Approval& approval) {
        return approves(approval, report, domain);
    });
    if (approved) return {};
    return refused(
        fmt::format("MRENCLAVE {} is not approved for domain {}, nor is its signer's "
                    "product {} with SVN {}",
                    to_hex(report.mrenclave), uuid_text(domain), report.isvprodid, report.isvsvn));
}

}  // namespace

std::expected<wire::SignedAttestationResult, Refusal> appraise(
    Bytes evidence_bytes, const Policy& policy, const hypervisor::Revocations& revocations,
    const crypto::SigningKeyPair& key, std::chrono::sys_seconds now) {
    const auto evidence = parse_evidence(evidence_bytes);
    if (!evidence) return std::unexpected{evidence.error()};
    const wire::RegistrationBinding& binding = evidence->header.binding;
    const auto domain = find_domain(evidence->header, policy);
    if (!domain) return std::unexpected{domain.error()};
    const auto report = verify(evidence->quote, policy, now);
    if (!report) return std::unexpected{report.error()};

    const wire::Digest binding_digest = crypto::sha256(bytes_of(binding));
    sgx::ReportData expected{};
    std::ranges::copy(binding_digest, expected.begin());
    if (report->report_data != expected) {
        return refused("the quote was made for something else than this registration");
    }
    if (const auto sound = check_enclave(*report, policy, binding.domain); !sound) {
        return std::unexpected{sound.error()};
    }
    const hypervisor::IdsIdentity ids{
        .domain = binding.domain, .mrenclave = report->mrenclave, .binding_digest = binding_digest};
    if (revocations.cover(ids, (*domain)->hypervisor_key_id)) {
        return refused(fmt::format("MRENCLAVE {} for domain {} has been revoked",
                                   to_hex(report->mrenclave), uuid_text(binding.domain)));
    }

    const wire::AttestationResult result{.label = wire::kAttestationLabel,
                                         .registration_nonce = binding.registration_nonce,
                                         .binding_digest = binding_digest,
                                         .domain = binding.domain,
                                         .hypervisor_key_id = (*domain)->hypervisor_key_id,
                                         .owner = (*domain)->owner,
                                         .ids = binding.ids,
                                         .mrenclave = report->mrenclave,
                                         .mrsigner = report->mrsigner,
                                         .isv_prod_id = report->isvprodid,
                                         .isv_svn = report->isvsvn,
                                         .flags = wire::kAttestedSoftwareSgx,
                                         .lifetime_seconds = policy.lifetime_seconds,
                                         .reserved = 0};
    return wire::SignedAttestationResult{.result = result,
                                         .signature = key.sign({bytes_of(result)})};
}

}  // namespace sgm::authority
