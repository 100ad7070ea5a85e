// SPDX-License-Identifier: MIT
// What the authority was told to approve: authority.toml.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/error.hpp"
#include "sgx/quote/certificates.hpp"
#include "wire/attestation.hpp"
#include "wire/ids.hpp"

namespace sgm::authority {

// This very enclave.
struct ApprovedEnclave {
    wire::Digest mrenclave;
};

// Any enclave of this signer and product from a security version on.
struct ApprovedSigner {
    wire::Digest mrsigner;
    std::uint16_t product_id;
    std::uint16_t minimum_svn;
};

struct Approval {
    std::variant<ApprovedEnclave, ApprovedSigner> enclave;
    std::vector<wire::Uuid> domains;  // empty: every enrolled one
};

// A VM, the hypervisor that runs it and the owner to whom its findings go, all enrolled by hand.
struct Domain {
    wire::Uuid uuid;
    wire::Digest hypervisor_key_id;  // SHA-256 of the hypervisor's public key
    wire::OwnerKeys owner;
};

// Debug enclaves are never approved; there is no setting for that. Without a software root no
// quote is accepted at all, because hardware quotes cannot be judged yet (sgx/quote/verify.hpp).
struct Policy {
    std::vector<Approval> approvals;
    std::vector<Domain> domains;
    std::optional<sgx::RootCertificate> software_root;
    std::uint32_t lifetime_seconds;
};

struct Settings {
    std::string listen;
    std::uint16_t port;
    std::filesystem::path signing_key;
    std::filesystem::path revocations;  // authority/revocations.hpp
    Policy policy;
};

[[nodiscard]] config::Result<Settings> load_settings(const std::filesystem::path& path);

}  // namespace sgm::authority
