// SPDX-License-Identifier: MIT
#include "sgx/enclave/enclu.hpp"

#include <algorithm>
#include <cstring>

#include "sgx/enclave/runtime.hpp"

// entry.S
extern "C" std::uint64_t sgm_enclave_leaf(std::uint64_t leaf, const void* rbx, const void* rcx,
                                          void* rdx);

namespace sgm::enclave {

sgx::Report create_report(const sgx::TargetInfo& target, const sgx::ReportData& data) {
    alignas(sgx::kTargetInfoAlignment) const sgx::TargetInfo aligned_target = target;
    alignas(sgx::kReportDataAlignment) const sgx::ReportData aligned_data = data;
    alignas(sgx::kReportAlignment) sgx::Report report{};
    (void)sgm_enclave_leaf(static_cast<std::uint64_t>(sgx::Enclu::ereport), &aligned_target,
                           &aligned_data, &report);
    return report;
}

std::uint64_t xfrm() {
    return create_report({}, {}).body.attributes.xfrm;
}

namespace {

std::expected<void, sgx::KeyError> get_key(const sgx::KeyRequest& request,
                                           std::span<std::uint8_t, 16> key) {
    alignas(sgx::kKeyRequestAlignment) const sgx::KeyRequest aligned = request;
    alignas(sgx::kKeyAlignment) sgx::Key128 result{};
    const auto error = static_cast<sgx::KeyError>(sgm_enclave_leaf(
        static_cast<std::uint64_t>(sgx::Enclu::egetkey), &aligned, &result, nullptr));
    if (error != sgx::KeyError::none) return std::unexpected(error);
    std::copy(result.begin(), result.end(), key.begin());
    result.fill(0);
    __asm__ volatile("" : : "r"(&result) : "memory");
    return {};
}

}  // namespace

std::expected<void, sgx::KeyError> get_seal_key(SealTo policy, std::uint16_t isv_svn,
                                                const std::array<std::uint8_t, 16>& cpusvn,
                                                const std::array<std::uint8_t, 32>& keyid,
                                                std::span<std::uint8_t, 16> key) {
    sgx::KeyRequest request{};
    request.keyname = sgx::KeyName::seal;
    request.keypolicy = static_cast<std::uint16_t>(policy);
    request.isvsvn = isv_svn;
    request.cpusvn = cpusvn;
    // The CPU adds INIT and DEBUG by itself (SDM, EGETKEY); the rest of the attributes does not
    // make another enclave of ours.
    request.attributemask = {.flags = sgx::kAttributeInit | sgx::kAttributeDebug, .xfrm = 0};
    request.keyid = keyid;
    return get_key(request, key);
}

// SDM vol. 3D, EGETKEY: a report key is made of the enclave's own SECS and the KEYID; the other
// fields of the request do not count.
std::expected<void, sgx::KeyError> get_report_key(const std::array<std::uint8_t, 32>& keyid,
                                                  std::span<std::uint8_t, 16> key) {
    sgx::KeyRequest request{};
    request.keyname = sgx::KeyName::report;
    request.keyid = keyid;
    return get_key(request, key);
}

bool accept_page(const void* page) {
    const sgx::SecInfo expected{.flags = sgx::kSecInfoRegular | sgx::kSecInfoPending |
                                         sgx::kSecInfoRead | sgx::kSecInfoWrite,
                                .reserved_8 = {}};
    return static_cast<sgx::AcceptError>(sgm_enclave_leaf(
               static_cast<std::uint64_t>(sgx::Enclu::eaccept), &expected, page, nullptr)) ==
           sgx::AcceptError::none;
}

}  // namespace sgm::enclave
