// SPDX-License-Identifier: MIT
// Who may register: the checks of a RegisterRequest, one Status for each reason to refuse. All of
// the request is the host's until the signature has been verified; what the signature covers is
// the authority's word, and the binding is the enclave's once its digest agrees with that.
#pragma once

#include <cstdint>
#include <expected>

#include "crypto/keys.hpp"
#include "crypto/secret.hpp"
#include "hypervisor/core/nonce_table.hpp"
#include "hypervisor/core/port.hpp"
#include "hypervisor/core/revocations.hpp"
#include "wire/attestation.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// What this hypervisor is, and whom it believes.
struct Trust {
    crypto::SealingKeyPair key_pair;
    wire::Digest key_id;  // SHA-256 of the public key
    wire::SigningKey authority;
    bool allow_software_sgx;
};

struct Registration {
    Domain* domain;
    IdsIdentity ids;
    std::uint64_t expires_ns;  // on the port's clock
};

// Reads the nonce table and changes nothing: a refused request does not use its nonce up.
[[nodiscard]] std::expected<Registration, wire::Status> check(const wire::RegisterRequest& request,
                                                              const Trust& trust,
                                                              const NonceTable& nonces,
                                                              const Revocations& revocations,
                                                              Port& port);

// The session secret. Error: bad_encapsulation.
[[nodiscard]] std::expected<crypto::Secret<32>, wire::Status> open_secret(
    const wire::RegistrationBinding& binding, const Trust& trust);

}  // namespace sgm::hypervisor
