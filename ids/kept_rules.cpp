// SPDX-License-Identifier: MIT
#include "ids/kept_rules.hpp"

#include <vector>

#include "sgx/enclave/sealing.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::ids {

namespace {

constexpr enclave::SealTo kPolicy = enclave::SealTo::this_enclave;
constexpr std::size_t kMaxBlob =
    sizeof(wire::Rules) + wire::kMaxRules * sizeof(wire::Rule) + wire::kSealedOverhead;
static_assert(kMaxBlob <= wire::kMaxKeptBlob);

wire::SealedRulesLabel label(const wire::Uuid& domain, const wire::SigningKey& owner) {
    return {.label = wire::kSealedRulesLabel, .domain = domain, .owner = owner};
}

}  // namespace

std::expected<void, std::string> keep_rules(Environment& environment, const wire::Uuid& domain,
                                            const wire::SigningKey& owner, Bytes payload) {
    const auto blob =
        enclave::seal(environment.seal_keys(), kPolicy, bytes_of(label(domain, owner)), payload);
    if (!blob) {
        return std::unexpected("The rules cannot be sealed for the next start: " +
                               std::string{text(blob.error())} + ".");
    }
    if (const auto sent = environment.send(wire::Peer::storage, *blob); !sent) {
        return std::unexpected(
            "The host keeps no rules for the next start of the IDS: it will begin without them.");
    }
    return {};
}

std::expected<std::optional<detect::Rules>, std::string> recall_rules(
    Environment& environment, const wire::Uuid& domain, const wire::SigningKey& owner) {
    std::vector<std::uint8_t> blob(kMaxBlob);
    const auto size = environment.receive(wire::Peer::storage, 0, blob);
    if (!size && size.error() != EnvironmentError::too_large) return std::nullopt;
    const auto refuse = [](std::string_view why) {
        return std::unexpected(
            "The rules that the host kept for this start were refused: " + std::string{why} + ".");
    };
    if (!size) return refuse(text(size.error()));
    const auto unsealed = enclave::unseal(environment.seal_keys(), kPolicy,
                                          bytes_of(label(domain, owner)), Bytes{blob}.first(*size));
    if (!unsealed) return refuse(text(unsealed.error()));
    auto rules = detect::parse_rules(unsealed->contents);
    if (!rules) return refuse(text(rules.error()));
    return std::move(*rules);
}

}  // namespace sgm::ids
