// SPDX-License-Identifier: MIT
// EREPORT and EGETKEY.
#pragma once

#include <expected>
#include <span>

#include "sgx/image/arch.hpp"

namespace sgm::enclave {

// A report about this enclave for `target`, carrying `data`. The CPU accepts any target: a report
// for a wrong one verifies nowhere.
[[nodiscard]] sgx::Report create_report(const sgx::TargetInfo& target, const sgx::ReportData& data);

// ATTRIBUTES.XFRM, by a report about this enclave: which extended state the CPU keeps for it.
[[nodiscard]] std::uint64_t xfrm();

// To whom a seal key belongs: this very enclave, or every enclave of this signer with the same
// product id and at least this SVN.
enum class SealTo : std::uint16_t {
    this_enclave = sgx::kKeyPolicyMrenclave,
    this_signer = sgx::kKeyPolicyMrsigner,
};

// Writes the 16-byte seal key for `keyid` (any value; not secret). It never is the same for a
// debug enclave as for a production one. The caller wipes it.
[[nodiscard]] std::expected<void, sgx::KeyError> get_seal_key(
    SealTo policy, std::uint16_t isv_svn, const std::array<std::uint8_t, 16>& cpusvn,
    const std::array<std::uint8_t, 32>& keyid, std::span<std::uint8_t, 16> key);

// Writes the 16-byte key under which a CPU signs reports for this enclave, for the KEYID of one.
// The caller wipes it.
[[nodiscard]] std::expected<void, sgx::KeyError> get_report_key(
    const std::array<std::uint8_t, 32>& keyid, std::span<std::uint8_t, 16> key);

// EACCEPT (SGX2): takes a page of readable and writable zeros that the host has added at this page
// boundary since the enclave runs. False: what lies there is no such page, or was taken before. A
// host that adds none makes this a fault, and one that adds it elsewhere or otherwise gets false.
[[nodiscard]] bool accept_page(const void* page);

}  // namespace sgm::enclave
