// SPDX-License-Identifier: MIT
#include "ids/program.hpp"

#include <algorithm>

#include "crypto/hash.hpp"
#include "crypto/random.hpp"
#include "ids/protection.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::ids {

using wire::EnclaveResult;

Program::Program(Environment& environment, const wire::SigningKey& authority,
                 const wire::Uuid& domain, std::uint32_t interval_ms, IdsKeyPairs keys,
                 const wire::BootId& boot)
    : environment_{environment},
      interval_ms_{std::clamp(interval_ms, 100u, 60'000u)},
      keys_{std::move(keys)},
      owner_{environment, keys_, domain, boot},
      keeper_{environment, authority, domain, keys_.public_keys(), owner_} {
    beat_.interval_ms = interval_ms_;
    beat_.state = wire::IdsState::starting;  // it never scans by itself
    wire::set_text(beat_.reason, "answers when it is asked, and does not scan");
}

std::expected<std::unique_ptr<Program>, EnclaveResult> Program::start(
    Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
    std::uint32_t interval_ms) {
    auto keys = IdsKeyPairs::generate();
    wire::BootId boot{};
    if (!keys || !crypto::random_bytes(boot)) return std::unexpected(EnclaveResult::no_randomness);
    std::unique_ptr<Program> program{
        new Program{environment, authority, domain, interval_ms, std::move(*keys), boot}};
    if (!program->register_anew()) return std::unexpected(EnclaveResult::stopped);
    return program;
}

bool Program::register_anew() {
    if (!keeper_.register_anew()) return false;
    memory_.emplace(keeper_.session());
    beat_.protection = ask_for_protection(*memory_);
    if (beat_.beat == 0) beat();  // until it has heard who we are, the owner cannot ask anything
    keeper_.report_failed_attempts();
    return true;
}

void Program::beat() {
    next_beat_ = clock() + std::uint64_t{interval_ms_} * 1'000'000;
    ++beat_.beat;
    beat_.attestation = keeper_.attestation();
    beat_.registrations = keeper_.registrations();
    beat_.refused_answers = keeper_.refused_answers();
    beat_.hypervisor_clock = clock();
    // One that the host does not take leaves a gap in the sequence, which the owner sees.
    static_cast<void>(owner_.send(wire::OwnerKind::heartbeat, bytes_of(beat_)));
    beat_.previous_beat = crypto::sha256(bytes_of(beat_));
}

std::optional<wire::Query> Program::take(const OwnerChannel::Command& command) {
    Reader reader{command.payload};
    if (command.kind == wire::OwnerKind::challenge) {
        if (const auto challenge = reader.take<wire::Challenge>()) {
            beat_.remote_nonce = challenge->nonce;
        }
    }
    if (command.kind != wire::OwnerKind::query) return std::nullopt;
    const auto query = reader.take<wire::Query>();
    // The only kind that there is an answer to.
    return query && query->kind == wire::QueryKind::processes ? query : std::nullopt;
}

std::expected<wire::Query, EnclaveResult> Program::next_query() {
    for (;;) {
        // The host's wait may return early or late; the hypervisor's clock says which.
        beat_.protection = ask_for_protection(*memory_);
        if (!keeper_.has_session() && !register_anew()) {
            return std::unexpected(EnclaveResult::stopped);
        }
        switch (keeper_.renew()) {
            case SessionKeeper::Renewal::kept: break;
            case SessionKeeper::Renewal::renewed: memory_.emplace(keeper_.session()); break;
            case SessionKeeper::Renewal::stopped: return std::unexpected(EnclaveResult::stopped);
        }
        if (clock() >= next_beat_) beat();
        const auto command = owner_.receive();
        if (!command) return std::unexpected(EnclaveResult::stopped);
        if (*command) {
            if (const auto query = take(**command)) return *query;
            continue;
        }
        const std::uint64_t next = std::min(next_beat_, keeper_.renew_at());
        const auto waited = environment_.wait(next > clock() ? next - clock() : 0);
        if (!waited && waited.error() == EnvironmentError::stopped) {
            return std::unexpected(EnclaveResult::stopped);
        }
    }
}

void Program::answer(const wire::Query& query, const ProcessList& processes) {
    static_cast<void>(
        owner_.send(wire::OwnerKind::answer, process_answer(query.id, clock(), processes)));
}

}  // namespace sgm::ids
