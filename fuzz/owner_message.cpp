// SPDX-License-Identifier: MIT
// Messages between IDS and owner: raw as the network brings them, and correctly sealed ones of any
// content, as an IDS gone bad or a careless owner would send them.
#include "ids/owner_message.hpp"

#include "detect/rules.hpp"
#include "fuzz/target.hpp"
#include "remote/heartbeats.hpp"

namespace sgm::fuzz {
namespace {

constexpr std::array<std::uint8_t, 32> kSeed{7};

void take_apart(Bytes payload) {
    if (const auto rules = detect::parse_rules(payload)) {
        check(rules->rules.size() <= wire::kMaxRules, "rules keep to their bound");
        static_cast<void>(detect::forbidding_rule(*rules, {'a'}, 0));
    }
    static_cast<void>(remote::parse_heartbeat(payload));
}

}  // namespace

void run(Bytes input) {
    static const auto signer = crypto::SigningKeyPair::from_seed(kSeed);
    static const auto receiver = crypto::SealingKeyPair::from_private(kSeed);
    Choices choices{input};
    const bool is_sealed = choices.byte() % 2 == 0;
    if (!is_sealed) {
        const Bytes message = choices.rest();
        static_cast<void>(ids::parse_owner_header(message));
        check(!ids::open_owner_message(message, receiver), "nobody forges a sealed message");
        return;
    }
    const auto kind = static_cast<wire::OwnerKind>(choices.byte());
    wire::OwnerHeader header{};
    const Bytes payload = choices.bytes(ids::kMaxMessagePayload);
    take_apart(payload);
    const auto sealed =
        ids::seal_owner_message(header, kind, payload, signer, receiver.public_key());
    check(sealed.has_value(), "what keeps to the bound can be sealed");
    const auto opened = ids::open_owner_message(*sealed, receiver);
    if (!opened) {
        check(opened.error() == ids::MessageError::bad_body, "only the kind can be wrong");
        return;
    }
    check(std::ranges::equal(opened->payload, payload), "a message opens as it was sealed");
    check(ids::verify_sender(*opened, signer.public_key()).has_value(), "its sender is known");
    const remote::Trust trust{
        .authority = signer.public_key(), .domain = {}, .owner = {}, .allow_software_sgx = true};
    static_cast<void>(remote::take_heartbeat(std::nullopt, *opened, trust));
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (std::uint8_t kind = 0; kind < 20; ++kind) {
        result.push_back(Recorder{}
                             .put(std::uint8_t{0})
                             .put(kind)
                             .put_bytes(Octets(sizeof(wire::Heartbeat)))
                             .octets());
    }
    wire::Rules rules{};
    rules.version = 1;
    rules.count = 1;
    result.push_back(Recorder{}
                         .put(std::uint8_t{0})
                         .put(static_cast<std::uint8_t>(wire::OwnerKind::rules))
                         .put(rules)
                         .put(wire::Rule{})
                         .octets());
    result.push_back(Octets(300, 1));
    return result;
}

}  // namespace sgm::fuzz
