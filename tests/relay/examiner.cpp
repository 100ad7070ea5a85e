// SPDX-License-Identifier: MIT
#include "tests/relay/examiner.hpp"

#include "crypto/hash.hpp"

namespace sgm::relay {
namespace {

constexpr wire::BootId kBoot{0xb0, 0x07};

}  // namespace

Examiner::Examiner(ids::Environment& environment, const wire::SigningKey& authority,
                   const wire::Uuid& domain)
    : keys_{ids::IdsKeyPairs::generate().value()},
      owner_{environment, keys_, domain, kBoot},
      keeper_{environment, authority, domain, keys_.public_keys(), owner_} {
    beat_.state = wire::IdsState::watching;
    beat_.interval_ms = 1000;
}

bool Examiner::register_anew() {
    if (!keeper_.register_anew()) return false;
    if (beat_.beat == 0) beat(true);
    keeper_.report_failed_attempts();
    return true;
}

std::expected<Message, guest::TransportError> Examiner::ask(Bytes batch) {
    const auto answer = keeper_.session().exchange(batch);
    if (!answer) return std::unexpected(answer.error());
    return Message{answer->begin(), answer->end()};
}

void Examiner::beat(bool scanned) {
    ++beat_.beat;
    if (scanned) ++beat_.scan;
    beat_.attestation = keeper_.attestation();
    beat_.registrations = keeper_.registrations();
    beat_.refused_answers = keeper_.refused_answers();
    beat_.hypervisor_clock = keeper_.session().clock();
    static_cast<void>(owner_.send(wire::OwnerKind::heartbeat, bytes_of(beat_)));
    beat_.previous_beat = crypto::sha256(bytes_of(beat_));
}

}  // namespace sgm::relay
