// SPDX-License-Identifier: MIT
#include "tests/relay/owner.hpp"

#include "wire/fixed_text.hpp"

namespace sgm::relay {

Owner::Owner(remote::OwnerChannel channel, const wire::SigningKey& authority)
    : channel_{std::move(channel)},
      trust_{.authority = authority,
             .domain = channel_.domain(),
             .owner = channel_.public_keys(),
             .allow_software_sgx = true} {}

void Owner::note(const std::vector<remote::Observation>& observations) {
    for (const remote::Observation& one : observations) {
        if (one.severity != wire::Severity::info) alarms.push_back(one.text);
    }
}

std::string Owner::take_beat(const ids::OpenedMessage& message) {
    auto taken = remote::take_heartbeat(boot_, message, trust_);
    if (!taken) return taken.error().reason;
    boot_ = std::move(taken->boot);
    note(taken->observations);
    return {};
}

std::string Owner::take(Bytes message) {
    const auto opened = channel_.open(message);
    if (!opened) return std::string{text(opened.error())};
    if (opened->kind == wire::OwnerKind::heartbeat) return take_beat(*opened);
    if (!boot_) return "a message of an IDS that has not been heard of";
    const auto taken = remote::take_in_sequence(*boot_, *opened);
    if (!taken) return taken.error().reason;
    note(*taken);
    const auto finding = Reader{opened->payload}.take<wire::Finding>();
    if (!finding) return "a finding that is none";
    if (finding->severity != wire::Severity::info)
        alarms.emplace_back(wire::get_text(finding->text));
    return {};
}

}  // namespace sgm::relay
