// SPDX-License-Identifier: MIT
// How a freshly started IDS gets a session: ARCHITECTURE's "Registration", seen from the enclave.
//
//   identity     -> the hypervisor's public key and a nonce, by way of the host: believed later
//   HPKE         -> a session secret that only the holder of that key can open
//   REPORT/quote -> this very enclave made that secret, for that nonce and VM, with these keys
//   authority    -> "this IDS may read this VM at that hypervisor, for this owner", signed
//   register     -> the hypervisor checks that word, opens the secret, confirms under its keys
//
// The host carries every step and can stop each, but can put nothing of its own in: the enclave
// believes the hypervisor key and the owner only when the authority's signature names them.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "crypto/keys.hpp"
#include "ids/environment.hpp"
#include "ids/session.hpp"
#include "wire/attestation.hpp"

namespace sgm::ids {

enum class RegistrationError {
    no_authority,       // the measured configuration page names no authority
    hypervisor_silent,  // no reply to `identity` or `register`
    malformed_reply,    // the hypervisor sends no such reply
    no_randomness,
    bad_hypervisor_key,  // HPKE refused the key: low-order point
    no_report,           // EREPORT failed
    no_quote,            // the quoting enclave did not answer
    authority_silent,
    refused_by_authority,   // detail: its reason
    bad_attestation,        // the result is not the authority's word about this registration
    refused_by_hypervisor,  // detail: the status
    bad_confirmation,       // the confirmation was not sealed by who holds the hypervisor's key
    stopped,
};

[[nodiscard]] std::string_view text(RegistrationError error);

struct RegistrationFailure {
    RegistrationError error;
    std::string detail;  // untrusted text, may be empty
};

// "the authority refused this IDS: MRENCLAVE ... is not approved"
[[nodiscard]] std::string describe(const RegistrationFailure& failure);

struct Registered {
    std::unique_ptr<Session> session;
    wire::SignedAttestationResult attestation;  // verified
    std::uint64_t renew_at;                     // hypervisor clock, ns: half of the lifetime
    std::uint64_t expires_at;                   // likewise: all of it
};

// A registration whose evidence is on its way to the authority.
struct PendingRegistration {
    crypto::Secret<32> secret;
    wire::RegistrationBinding binding;
    wire::Digest hypervisor_key_id;
    wire::Digest binding_digest;
};

// `authority`: from the measured configuration page. `domain`: what the host asks to watch; the
// attestation result must say the same. `ids`: the public halves of this start's keys.
[[nodiscard]] std::expected<PendingRegistration, RegistrationFailure> begin_registration(
    Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
    const wire::IdsKeys& ids);

// Waits for the authority's word, at most `wait_ns`, and takes it to the hypervisor. nullopt: it
// has not come; to be called again.
[[nodiscard]] std::expected<std::optional<Registered>, RegistrationFailure> finish_registration(
    Environment& environment, const wire::SigningKey& authority, const PendingRegistration& pending,
    std::uint64_t wait_ns);

// An authority is on the network: longer than this is silence.
inline constexpr std::uint64_t kAuthorityWait = 15'000'000'000;

// Both, one after the other.
[[nodiscard]] std::expected<Registered, RegistrationFailure> register_ids(
    Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
    const wire::IdsKeys& ids);

}  // namespace sgm::ids
