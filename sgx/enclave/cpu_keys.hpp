// SPDX-License-Identifier: MIT
// The keys that only the CPU can make, used inside: seal keys for sealing.hpp, and the report key
// that proves another enclave's report (local attestation).
#pragma once

#include <expected>
#include <string_view>

#include "sgx/enclave/sealing.hpp"
#include "sgx/image/arch.hpp"

namespace sgm::enclave {

// EGETKEY. Stateless.
class EgetkeySealKeys final : public SealKeys {
  public:
    [[nodiscard]] Versions versions() override;
    [[nodiscard]] std::expected<void, sgx::KeyError> get(SealTo policy, const Versions& versions,
                                                         const std::array<std::uint8_t, 32>& keyid,
                                                         std::span<std::uint8_t, 16> key) override;
};

// What another enclave on this machine needs in order to make a report for this one. Not secret.
[[nodiscard]] sgx::TargetInfo own_target_info();

enum class ReportError {
    no_key,      // EGETKEY refused the report key
    not_for_us,  // made on another machine, for another enclave, by no CPU at all, or changed
};

[[nodiscard]] constexpr std::string_view text(ReportError error) {
    switch (error) {
        case ReportError::no_key: return "the CPU gave no report key";
        case ReportError::not_for_us:
            return "the report was not made by this machine's CPU for this enclave";
    }
    return "unknown";
}

// Whether this machine's CPU made `report` for this enclave: the body then says which enclave asked
// for it (MRENCLAVE, MRSIGNER, attributes, versions) and what it wanted to say (REPORTDATA).
// `report` is anyone's. Whether that enclave is to be trusted is the caller's to decide, a debug
// one never; and a report proves no freshness but what REPORTDATA holds.
[[nodiscard]] std::expected<sgx::ReportBody, ReportError> verify_report(const sgx::Report& report);

}  // namespace sgm::enclave
