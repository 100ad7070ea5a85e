// SPDX-License-Identifier: MIT
#include "hypervisor/core/registration.hpp"

#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"

namespace sgm::hypervisor {
namespace {

using wire::Status;

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint32_t kKnownFlags = wire::kAttestedSoftwareSgx | wire::kAttestedDebug;

// Ed25519 over a struct whose label says what the signature means: with another label it is a
// signature of something else.
bool is_authoritys_word(const wire::SignedAttestationResult& attestation,
                        const wire::SigningKey& authority) {
    return crypto::verify(authority, attestation.signature, {bytes_of(attestation.result)}) &&
           attestation.result.label == wire::kAttestationLabel;
}

bool same_ids(const wire::IdsKeys& a, const wire::IdsKeys& b) {
    return a.signing == b.signing && a.sealing == b.sealing;
}

}  // namespace

std::expected<Registration, Status> check(const wire::RegisterRequest& request, const Trust& trust,
                                          const NonceTable& nonces, const Revocations& revocations,
                                          Port& port) {
    const wire::RegistrationBinding& binding = request.binding;
    const wire::AttestationResult& result = request.attestation.result;
    const auto refuse = [](Status status) { return std::unexpected{status}; };

    if (!is_authoritys_word(request.attestation, trust.authority)) {
        return refuse(Status::bad_signature);
    }
    // What a later authority may mean by more flags is not known: it is not taken as harmless.
    if ((result.flags & ~kKnownFlags) != 0 || result.reserved != 0) {
        return refuse(Status::unsupported);
    }
    if (result.hypervisor_key_id != trust.key_id) return refuse(Status::wrong_hypervisor);
    if (result.domain != binding.domain) return refuse(Status::wrong_domain);
    Domain* const domain = port.find(binding.domain);
    if (domain == nullptr) return refuse(Status::wrong_domain);

    const auto issued_ns = nonces.issued(result.registration_nonce);
    if (!issued_ns) return refuse(Status::unknown_nonce);
    const wire::Digest digest = crypto::sha256(bytes_of(binding));
    if (result.registration_nonce != binding.registration_nonce ||
        result.binding_digest != digest || !same_ids(result.ids, binding.ids)) {
        return refuse(Status::wrong_binding);
    }

    if ((result.flags & wire::kAttestedDebug) != 0) return refuse(Status::debug_refused);
    if ((result.flags & wire::kAttestedSoftwareSgx) != 0 && !trust.allow_software_sgx) {
        return refuse(Status::software_sgx_refused);
    }
    const IdsIdentity ids{
        .domain = binding.domain, .mrenclave = result.mrenclave, .binding_digest = digest};
    if (revocations.cover(ids, trust.key_id)) return refuse(Status::revoked);
    // 2^32 s is 2^62 ns: no overflow for centuries of uptime.
    const std::uint64_t expires_ns = *issued_ns + result.lifetime_seconds * kSecondNs;
    if (port.now_ns() >= expires_ns) return refuse(Status::lifetime_over);
    return Registration{.domain = domain, .ids = ids, .expires_ns = expires_ns};
}

std::expected<crypto::Secret<32>, Status> open_secret(const wire::RegistrationBinding& binding,
                                                      const Trust& trust) {
    const wire::HpkeInfo info{
        .label = wire::kRegisterLabel, .domain = binding.domain, .hypervisor_key_id = trust.key_id};
    crypto::Secret<32> secret;
    if (!crypto::hpke_open(trust.key_pair, binding.encapsulation, bytes_of(info),
                           binding.registration_nonce, binding.sealed_secret,
                           secret.mutable_bytes())) {
        return std::unexpected{Status::bad_encapsulation};
    }
    return secret;
}

}  // namespace sgm::hypervisor
