// SPDX-License-Identifier: MIT
// The enclave's end of a sealed session with the hypervisor core: batches out, answers back.
// The relay in between may do anything; what it can achieve is that the session ends.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <vector>

#include "guest/transport.hpp"
#include "hypervisor/core/session_keys.hpp"
#include "ids/environment.hpp"

namespace sgm::ids {

// Why a session ended. `tampered` is proof that something between the hypervisor and the IDS
// changed, replayed or made up an answer; `ended` is what a host may say in the clear.
enum class SessionEnd {
    tampered,  // an answer did not authenticate, or was not the answer to our request
    ended,     // a reply in the clear says that the hypervisor closed or refused the session, or
               // our own keys are used up
};

class Session final : public guest::Transport {
  public:
    // `secret` is the session secret that was sealed to the hypervisor. `environment` must outlive
    // the session. `usage`: what its keys have sealed before, for tests of their bounds.
    Session(Environment& environment, const hypervisor::SessionName& name,
            const wire::Nonce& registration_nonce, const crypto::Secret<32>& secret,
            hypervisor::KeyUsage usage = {});

    // Opens the sealed reply to `register`, counter 0. nullopt: not what the hypervisor sealed.
    [[nodiscard]] std::optional<wire::Confirmation> open_confirmation(
        const wire::SealedHeader& header, Bytes ciphertext);

    [[nodiscard]] std::expected<Bytes, guest::TransportError> exchange(Bytes batch) override;

    // Tells the hypervisor to forget the session's keys. A reply is not waited for in vain.
    void close();

    // Set once the session is lost; from then on every exchange is refused.
    [[nodiscard]] std::optional<SessionEnd> end() const { return end_; }
    // The status that came in the clear with SessionEnd::ended. A hint: the host may forge it.
    [[nodiscard]] wire::Status end_status() const { return end_status_; }

    // Time to renew: half of what the keys may seal is sealed.
    [[nodiscard]] bool is_worn() const { return usage_.is_worn(counter_); }

    // Changes when the VM was reset, restored or migrated; authenticated by the confirmation.
    [[nodiscard]] std::uint64_t epoch() const { return epoch_; }

    // Hypervisor clock, in ns, of the last answer.
    [[nodiscard]] std::uint64_t clock() const { return clock_; }

  private:
    [[nodiscard]] std::expected<Bytes, guest::TransportError> call(wire::Command command,
                                                                   Bytes batch);
    [[nodiscard]] std::expected<Bytes, guest::TransportError> lose(SessionEnd end,
                                                                   wire::Status status);
    // Opens the answer to the last request, in place.
    [[nodiscard]] bool open(wire::Command command, const wire::SealedHeader& header,
                            MutableBytes text) const;

    Environment& environment_;
    const std::uint64_t epoch_;
    hypervisor::SessionKeys keys_;
    std::uint64_t counter_ = 0;  // of the last request
    hypervisor::KeyUsage usage_;
    std::uint64_t clock_ = 0;
    std::optional<SessionEnd> end_;
    wire::Status end_status_ = wire::Status::ok;
    std::vector<std::uint8_t> call_buffer_;
    std::vector<std::uint8_t> reply_buffer_;
};

}  // namespace sgm::ids
