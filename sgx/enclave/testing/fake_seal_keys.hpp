// SPDX-License-Identifier: MIT
// For tests: the seal keys of an enclave on a CPU of the test's own.
#pragma once

#include <algorithm>
#include <cstring>

#include "crypto/hash.hpp"
#include "sgx/enclave/sealing.hpp"

namespace sgm::enclave::testing {

class FakeSealKeys final : public SealKeys {
  public:
    std::uint64_t machine = 1;
    std::uint64_t mrenclave = 1;
    std::uint64_t mrsigner = 1;
    Versions current{.isv_svn = 3, .cpusvn = {2}};

    Versions versions() override { return current; }

    // As Intel SDM vol. 3D, EGETKEY, has it: versions up to our own, and a key for each enclave or
    // signer.
    std::expected<void, sgx::KeyError> get(SealTo policy, const Versions& versions,
                                           const std::array<std::uint8_t, 32>& keyid,
                                           std::span<std::uint8_t, 16> key) override {
        if (versions.cpusvn > current.cpusvn) return std::unexpected(sgx::KeyError::invalid_cpusvn);
        if (versions.isv_svn > current.isv_svn) {
            return std::unexpected(sgx::KeyError::invalid_isvsvn);
        }
        const std::uint64_t identity = policy == SealTo::this_enclave ? mrenclave : mrsigner;
        const auto digest = crypto::hmac_sha256(
            bytes_of(machine), {bytes_of(identity), bytes_of(versions.isv_svn), versions.cpusvn,
                                keyid, bytes_of(static_cast<std::uint16_t>(policy))});
        std::copy_n(digest.begin(), key.size(), key.begin());
        return {};
    }
};

}  // namespace sgm::enclave::testing
