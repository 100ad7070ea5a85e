// SPDX-License-Identifier: MIT
#include "sgx/enclave/cpu_keys.hpp"

#include "crypto/cmac.hpp"
#include "crypto/secret.hpp"
#include "sgx/enclave/enclu.hpp"

namespace sgm::enclave {

namespace {

// A report for nobody: what the CPU says of this enclave itself.
sgx::ReportBody self() {
    return create_report({}, {}).body;
}

}  // namespace

SealKeys::Versions EgetkeySealKeys::versions() {
    const sgx::ReportBody body = self();
    return {.isv_svn = body.isvsvn, .cpusvn = body.cpusvn};
}

std::expected<void, sgx::KeyError> EgetkeySealKeys::get(SealTo policy, const Versions& versions,
                                                        const std::array<std::uint8_t, 32>& keyid,
                                                        std::span<std::uint8_t, 16> key) {
    return get_seal_key(policy, versions.isv_svn, versions.cpusvn, keyid, key);
}

// SDM vol. 3D, 38.17: what EREPORT takes of a target is what EGETKEY makes its report key of.
sgx::TargetInfo own_target_info() {
    const sgx::ReportBody body = self();
    sgx::TargetInfo target{};
    target.measurement = body.mrenclave;
    target.attributes = body.attributes;
    target.cet_attributes = body.cet_attributes;
    target.configsvn = body.configsvn;
    target.miscselect = body.miscselect;
    target.configid = body.configid;
    return target;
}

std::expected<sgx::ReportBody, ReportError> verify_report(const sgx::Report& report) {
    // One copy: the caller's may lie where others can write.
    const sgx::Report copy = report;
    crypto::Secret<16> key;
    if (!get_report_key(copy.keyid, key.mutable_bytes().first<16>())) {
        return std::unexpected(ReportError::no_key);
    }
    const crypto::Cmac128 mac = crypto::aes128_cmac(key.bytes().first<16>(), bytes_of(copy.body));
    if (!crypto::constant_time_equal(mac, copy.mac)) {
        return std::unexpected(ReportError::not_for_us);
    }
    return copy.body;
}

}  // namespace sgm::enclave
