// SPDX-License-Identifier: MIT
#include "ids/registration.hpp"

#include <algorithm>
#include <vector>

#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"
#include "crypto/random.hpp"
#include "wire/fixed_text.hpp"
#include "wire/ring.hpp"
#include "wire/status_text.hpp"

namespace sgm::ids {

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
// A quoting enclave answers in milliseconds.
constexpr std::uint64_t kQuoteWait = 10 * kSecond;
// Replies in the clear are small; a longer one is no reply of a hypervisor.
constexpr std::size_t kMaxPlainReply = 4096;

using Failed = std::unexpected<RegistrationFailure>;

Failed fail(RegistrationError error, std::string_view detail = {}) {
    return Failed{RegistrationFailure{error, std::string{detail}}};
}

Failed fail(RegistrationError error, EnvironmentError cause) {
    if (cause == EnvironmentError::stopped) return fail(RegistrationError::stopped);
    return fail(error, text(cause));
}

// One call in the clear: header and payload out, payload of the reply back, inside `reply`.
std::expected<Bytes, RegistrationFailure> plain_call(Environment& environment,
                                                     wire::Command command, Bytes payload,
                                                     MutableBytes reply) {
    std::vector<std::uint8_t> call(sizeof(wire::OpHeader) + payload.size());
    Writer writer{call};
    writer.put(wire::OpHeader{.magic = wire::kOpMagic,
                              .version = wire::kProtocolVersion,
                              .command = static_cast<std::uint16_t>(command),
                              .size = static_cast<std::uint32_t>(payload.size()),
                              .status = 0});
    writer.put_bytes(payload);
    const auto size = environment.call_hypervisor(writer.written(), reply);
    if (!size) return fail(RegistrationError::hypervisor_silent, size.error());
    Reader reader{Bytes{reply}.first(*size)};
    const auto header = reader.take<wire::OpHeader>();
    if (!header || header->magic != wire::kOpMagic || header->version != wire::kProtocolVersion ||
        header->command != static_cast<std::uint16_t>(command) ||
        header->size != reader.rest().size()) {
        return fail(RegistrationError::malformed_reply, "it is not a frame");
    }
    if (header->status != static_cast<std::uint32_t>(wire::Status::ok)) {
        return fail(RegistrationError::refused_by_hypervisor,
                    wire::text(static_cast<wire::Status>(header->status)));
    }
    return reader.rest();
}

// Step 1: a fresh session secret, sealed to the key that `identity` named.
std::expected<PendingRegistration, RegistrationFailure> seal_secret(const wire::Identity& identity,
                                                                    const wire::Uuid& domain,
                                                                    const wire::IdsKeys& ids) {
    PendingRegistration out{};
    if (!crypto::random_bytes(out.secret.mutable_bytes())) {
        return fail(RegistrationError::no_randomness);
    }
    // Computed, not taken from the reply: the authority compares it with its enrolment.
    out.hypervisor_key_id = crypto::sha256(identity.hypervisor_key);
    out.binding.registration_nonce = identity.registration_nonce;
    out.binding.domain = domain;
    out.binding.ids = ids;
    const wire::HpkeInfo info{.label = wire::kRegisterLabel,
                              .domain = domain,
                              .hypervisor_key_id = out.hypervisor_key_id};
    const auto encapsulation =
        crypto::hpke_seal(identity.hypervisor_key, bytes_of(info), identity.registration_nonce,
                          out.secret.bytes(), out.binding.sealed_secret);
    if (!encapsulation) {
        return fail(RegistrationError::bad_hypervisor_key, crypto::text(encapsulation.error()));
    }
    out.binding.encapsulation = *encapsulation;
    out.binding_digest = crypto::sha256(bytes_of(out.binding));
    return out;
}

// Step 2: the quote over the binding's digest.
std::expected<std::vector<std::uint8_t>, RegistrationFailure> get_quote(
    Environment& environment, const wire::Digest& binding_digest) {
    std::array<std::uint8_t, 64> report_data{};
    std::copy(binding_digest.begin(), binding_digest.end(), report_data.begin());
    const auto report = environment.report(report_data);
    if (!report) return fail(RegistrationError::no_report, report.error());
    if (const auto sent = environment.send(wire::Peer::quoting, *report); !sent) {
        return fail(RegistrationError::no_quote, sent.error());
    }
    std::vector<std::uint8_t> quote(wire::kMaxQuoteSize);
    const auto size = environment.receive(wire::Peer::quoting, kQuoteWait, quote);
    if (!size) return fail(RegistrationError::no_quote, size.error());
    quote.resize(*size);
    return quote;
}

// Step 3: what the authority is to judge.
std::expected<void, RegistrationFailure> send_evidence(Environment& environment,
                                                       const PendingRegistration& pending,
                                                       Bytes quote) {
    std::vector<std::uint8_t> evidence(sizeof(wire::EvidenceHeader) + quote.size());
    Writer writer{evidence};
    writer.put(wire::EvidenceHeader{.magic = wire::kEvidenceMagic,
                                    .version = 1,
                                    .binding = pending.binding,
                                    .hypervisor_key_id = pending.hypervisor_key_id,
                                    .quote_size = static_cast<std::uint32_t>(quote.size()),
                                    .reserved = 0});
    writer.put_bytes(quote);
    if (const auto sent = environment.send(wire::Peer::authority, writer.written()); !sent) {
        return fail(RegistrationError::authority_silent, sent.error());
    }
    return {};
}

// Step 4: the authority's word, not yet verified; nullopt when it has not come.
std::expected<std::optional<wire::SignedAttestationResult>, RegistrationFailure> hear_authority(
    Environment& environment, std::uint64_t wait_ns) {
    std::array<std::uint8_t, sizeof(wire::AuthorityReply) + sizeof(wire::SignedAttestationResult)>
        reply{};
    const auto size = environment.receive(wire::Peer::authority, wait_ns, reply);
    if (!size && size.error() == EnvironmentError::nothing) return std::nullopt;
    if (!size) return fail(RegistrationError::authority_silent, size.error());
    Reader reader{Bytes{reply}.first(*size)};
    const auto verdict = reader.take<wire::AuthorityReply>();
    if (!verdict) return fail(RegistrationError::authority_silent, "its reply is cut short");
    if (verdict->accepted != 1) {
        return fail(RegistrationError::refused_by_authority, wire::get_text(verdict->reason));
    }
    const auto result = reader.take<wire::SignedAttestationResult>();
    if (!result) return fail(RegistrationError::bad_attestation, "it is cut short");
    return *result;
}

// Before this, nothing that the host said about hypervisor, VM or owner is believed.
std::expected<void, RegistrationFailure> verify_attestation(
    const wire::SignedAttestationResult& attestation, const wire::SigningKey& authority,
    const PendingRegistration& pending) {
    const auto refuse = [](std::string_view why) {
        return fail(RegistrationError::bad_attestation, why);
    };
    const wire::AttestationResult& result = attestation.result;
    if (!crypto::verify(authority, attestation.signature, {bytes_of(result)})) {
        return refuse("it is not signed by the authority in the measured configuration");
    }
    if (result.label != wire::kAttestationLabel) return refuse("it is not an attestation result");
    if (result.registration_nonce != pending.binding.registration_nonce) {
        return refuse("it was given for another registration nonce");
    }
    if (result.binding_digest != pending.binding_digest)
        return refuse("it was given for another secret");
    if (result.domain != pending.binding.domain) return refuse("it names another VM");
    if (result.hypervisor_key_id != pending.hypervisor_key_id) {
        return refuse("it names another hypervisor");
    }
    if (result.ids.signing != pending.binding.ids.signing ||
        result.ids.sealing != pending.binding.ids.sealing) {
        return refuse("it names another IDS");
    }
    return {};
}

}  // namespace

std::string_view text(RegistrationError error) {
    switch (error) {
        case RegistrationError::no_authority:
            return "this enclave was signed without an authority's key: sign it with "
                   "--authority-key";
        case RegistrationError::hypervisor_silent: return "the hypervisor did not answer";
        case RegistrationError::malformed_reply:
            return "the hypervisor's reply was changed or made up on the host";
        case RegistrationError::no_randomness: return "the CPU gave no randomness";
        case RegistrationError::bad_hypervisor_key: return "the hypervisor's key is not usable";
        case RegistrationError::no_report: return "no enclave report could be made";
        case RegistrationError::no_quote: return "the quoting enclave gave no quote";
        case RegistrationError::authority_silent: return "the authority did not answer";
        case RegistrationError::refused_by_authority: return "the authority refused this IDS";
        case RegistrationError::bad_attestation: return "the attestation result is not believed";
        case RegistrationError::refused_by_hypervisor:
            return "the hypervisor refused the registration";
        case RegistrationError::bad_confirmation:
            return "the confirmation does not come from the enrolled hypervisor";
        case RegistrationError::stopped: return "the host asked to stop";
    }
    return "unknown";
}

std::string describe(const RegistrationFailure& failure) {
    std::string out{text(failure.error)};
    if (!failure.detail.empty()) out += ": " + failure.detail;
    return out;
}

std::expected<PendingRegistration, RegistrationFailure> begin_registration(
    Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
    const wire::IdsKeys& ids) {
    if (authority == wire::SigningKey{}) return fail(RegistrationError::no_authority);

    std::array<std::uint8_t, kMaxPlainReply> reply{};
    const auto identity_reply = plain_call(environment, wire::Command::identity, {}, reply);
    if (!identity_reply) return Failed{identity_reply.error()};
    const auto identity = Reader{*identity_reply}.take<wire::Identity>();
    if (!identity || identity_reply->size() != sizeof(wire::Identity))
        return fail(RegistrationError::malformed_reply, "the identity has a wrong size");

    auto pending = seal_secret(*identity, domain, ids);
    if (!pending) return pending;
    const auto quote = get_quote(environment, pending->binding_digest);
    if (!quote) return Failed{quote.error()};
    const auto sent = send_evidence(environment, *pending, *quote);
    if (!sent) return Failed{sent.error()};
    return pending;
}

std::expected<std::optional<Registered>, RegistrationFailure> finish_registration(
    Environment& environment, const wire::SigningKey& authority, const PendingRegistration& pending,
    std::uint64_t wait_ns) {
    const auto heard = hear_authority(environment, wait_ns);
    if (!heard) return Failed{heard.error()};
    if (!*heard) return std::nullopt;
    const wire::SignedAttestationResult& attestation = **heard;
    if (const auto believed = verify_attestation(attestation, authority, pending); !believed) {
        return Failed{believed.error()};
    }

    std::array<std::uint8_t, kMaxPlainReply> reply{};
    const wire::RegisterRequest request{.binding = pending.binding, .attestation = attestation};
    const auto confirmation_reply =
        plain_call(environment, wire::Command::open, bytes_of(request), reply);
    if (!confirmation_reply) return Failed{confirmation_reply.error()};
    Reader reader{*confirmation_reply};
    const auto header = reader.take<wire::SealedHeader>();
    if (!header) return fail(RegistrationError::bad_confirmation, "it is cut short");

    auto session = std::make_unique<Session>(
        environment,
        hypervisor::SessionName{
            .id = header->session, .domain = pending.binding.domain, .epoch = header->epoch},
        pending.binding.registration_nonce, pending.secret);
    const auto confirmation = session->open_confirmation(*header, reader.rest());
    if (!confirmation || confirmation->binding_digest != pending.binding_digest ||
        confirmation->session != header->session || confirmation->epoch != header->epoch) {
        return fail(RegistrationError::bad_confirmation);
    }
    const std::uint64_t lifetime = confirmation->lifetime_seconds * kSecond;
    return Registered{.session = std::move(session),
                      .attestation = attestation,
                      .renew_at = confirmation->hypervisor_clock + lifetime / 2,
                      .expires_at = confirmation->hypervisor_clock + lifetime};
}

std::expected<Registered, RegistrationFailure> register_ids(Environment& environment,
                                                            const wire::SigningKey& authority,
                                                            const wire::Uuid& domain,
                                                            const wire::IdsKeys& ids) {
    const auto pending = begin_registration(environment, authority, domain, ids);
    if (!pending) return Failed{pending.error()};
    auto registered = finish_registration(environment, authority, *pending, kAuthorityWait);
    if (!registered) return Failed{registered.error()};
    if (!*registered) return fail(RegistrationError::authority_silent, "no answer in time");
    return std::move(**registered);
}

}  // namespace sgm::ids
