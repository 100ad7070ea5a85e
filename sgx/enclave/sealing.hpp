// SPDX-License-Identifier: MIT
// Sealing: what an enclave wants to have again after a restart, in a form that the host can keep
// for it (wire/sealed_blob.hpp). The host cannot read or change it. It can lose it and give back an
// older one, which opens just as well: whoever must not go back has to compare a version with
// somebody who cannot be rolled back.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <vector>

#include "sgx/enclave/enclu.hpp"
#include "sgx/image/arch.hpp"
#include "wire/bytes.hpp"

namespace sgm::enclave {

// Where seal keys come from: in an enclave the CPU (EgetkeySealKeys), in tests a CPU of their own.
class SealKeys {
  public:
    virtual ~SealKeys() = default;

    // The versions of this enclave and this CPU, for which the newest keys are made.
    struct Versions {
        std::uint16_t isv_svn;
        std::array<std::uint8_t, 16> cpusvn;
    };
    [[nodiscard]] virtual Versions versions() = 0;

    // As get_seal_key (enclu.hpp).
    [[nodiscard]] virtual std::expected<void, sgx::KeyError> get(
        SealTo policy, const Versions& versions, const std::array<std::uint8_t, 32>& keyid,
        std::span<std::uint8_t, 16> key) = 0;

  protected:
    SealKeys() = default;
    SealKeys(const SealKeys&) = default;
    SealKeys& operator=(const SealKeys&) = default;
};

enum class SealError {
    too_large,      // more than wire::kMaxSealedSize
    no_randomness,  // RDRAND failed
    no_key,         // EGETKEY refused a key for our own versions
    malformed,      // not a sealed blob of a version that we know
    other_policy,   // sealed to the signer where we want our own, or the other way round
    newer,          // sealed by a newer version of this enclave, or on a newer CPU microcode
    not_ours,       // changed, or of another enclave, machine or label
};

[[nodiscard]] constexpr std::string_view text(SealError error) {
    switch (error) {
        case SealError::too_large: return "it is too large to be sealed";
        case SealError::no_randomness: return "the CPU gave no randomness";
        case SealError::no_key: return "the CPU gave no seal key";
        case SealError::malformed: return "it is not a sealed blob";
        case SealError::other_policy: return "it is sealed under another policy";
        case SealError::newer: return "it was sealed by a newer version of the enclave or the CPU";
        case SealError::not_ours:
            return "it was changed, or was sealed by another enclave or on another machine";
    }
    return "unknown";
}

// `label` says what the contents are and whose: a blob opens under its own label only.
// Errors: too_large, no_randomness, no_key.
[[nodiscard]] std::expected<std::vector<std::uint8_t>, SealError> seal(SealKeys& keys,
                                                                       SealTo policy, Bytes label,
                                                                       Bytes contents);

struct Unsealed {
    std::vector<std::uint8_t> contents;  // the caller wipes what is secret
    std::uint16_t isv_svn;               // of the enclave that sealed it: this one's or a lower
};

// `blob` is the host's: every byte string gives contents or an error. Errors: malformed,
// other_policy, newer, not_ours, no_key.
[[nodiscard]] std::expected<Unsealed, SealError> unseal(SealKeys& keys, SealTo policy, Bytes label,
                                                        Bytes blob);

}  // namespace sgm::enclave
