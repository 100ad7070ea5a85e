// SPDX-License-Identifier: MIT
#include "authority/policy.hpp"

#include <algorithm>

#include "config/file.hpp"
#include "config/text.hpp"
#include "config/toml_file.hpp"
#include "crypto/hash.hpp"

namespace sgm::authority {
namespace {

// An attestation result that is valid for days would outlive the decision behind it.
constexpr std::uint32_t kMinLifetimeSeconds = 30;
constexpr std::uint32_t kMaxLifetimeSeconds = 24 * 3600;

std::vector<wire::Uuid> read_uuids(config::Table& table, std::string_view key) {
    std::vector<wire::Uuid> uuids;
    for (const std::string& text : table.strings(key)) {
        if (const auto uuid = config::parse_uuid(text)) {
            uuids.push_back(*uuid);
        } else {
            table.refuse(key, "'" + std::string{key} + "' must be a list of UUIDs");
        }
    }
    return uuids;
}

Approval read_approval(config::Table& table) {
    Approval approval{.enclave = ApprovedEnclave{}, .domains = read_uuids(table, "domains")};
    if (table.has("domains") && approval.domains.empty()) {
        table.refuse("domains", "'domains' must name at least one; leave it out to mean all");
    }
    if (table.has("mrenclave") == table.has("mrsigner")) {
        table.refuse("",
                     "[[approve]] needs either 'mrenclave', or 'mrsigner', 'product_id' and "
                     "'minimum_svn'");
    } else if (table.has("mrenclave")) {
        approval.enclave = ApprovedEnclave{.mrenclave = table.digest("mrenclave")};
    } else {
        approval.enclave =
            ApprovedSigner{.mrsigner = table.digest("mrsigner"),
                           .product_id = table.integer<std::uint16_t>("product_id", 0, 65535),
                           .minimum_svn = table.integer<std::uint16_t>("minimum_svn", 0, 65535)};
    }
    return approval;
}

Domain read_domain(config::Table& table) {
    return {.uuid = table.uuid("uuid"),
            .hypervisor_key_id = crypto::sha256(table.sealing_key("hypervisor_key")),
            .owner = {.signing = table.signing_key("owner_signing_key"),
                      .sealing = table.sealing_key("owner_sealing_key")}};
}

std::optional<sgx::RootCertificate> read_software_root(config::Table& table) {
    const bool allowed = table.boolean("allow_software_sgx", false);
    const std::filesystem::path path = table.path("software_sgx_root", "");
    if (!allowed) return std::nullopt;
    if (path.empty()) {
        table.refuse("allow_software_sgx",
                     "allow_software_sgx = true needs 'software_sgx_root', the certificate that "
                     "the host's software SGX made");
        return std::nullopt;
    }
    const auto refuse = [&](const std::string& reason) {
        table.refuse("software_sgx_root", "'software_sgx_root': " + reason);
        return std::nullopt;
    };
    const auto pem = config::read_file(path);
    if (!pem) return refuse(pem.error().sentence);
    auto root = sgx::RootCertificate::from_pem(*pem);
    if (!root) return refuse(path.string() + ": " + root.error());
    if (!root->is_software()) {
        return refuse(path.string() +
                      " is not the root of a software SGX, and hardware quotes are not accepted "
                      "yet: TCB collateral is not verified");
    }
    return std::move(*root);
}

}  // namespace

config::Result<Settings> load_settings(const std::filesystem::path& path) {
    auto file = config::TomlFile::open(path);
    if (!file) return std::unexpected{file.error()};
    config::Table root = file->root();
    Settings settings{
        .listen = root.string("listen"),
        .port = root.integer<std::uint16_t>("port", 0, 65535),
        .signing_key = root.path("signing_key"),
        .revocations = root.path("revocations", "revocations.signed"),
        .policy = {.approvals = {},
                   .domains = {},
                   .software_root = read_software_root(root),
                   .lifetime_seconds = root.integer<std::uint32_t>(
                       "lifetime_seconds", kMinLifetimeSeconds, kMaxLifetimeSeconds, 600)}};
    for (config::Table& table : root.tables("approve")) {
        settings.policy.approvals.push_back(read_approval(table));
    }
    for (config::Table& table : root.tables("domain")) {
        Domain domain = read_domain(table);
        if (std::ranges::count(settings.policy.domains, domain.uuid, &Domain::uuid) != 0) {
            table.refuse("uuid", "this domain is already enrolled above");
        }
        settings.policy.domains.push_back(domain);
    }
    if (auto sound = file->finish(); !sound) return std::unexpected{sound.error()};
    return settings;
}

}  // namespace sgm::authority
