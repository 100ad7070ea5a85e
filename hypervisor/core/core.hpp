// SPDX-License-Identifier: MIT
// The hypervisor's end of the protocol: one call, sgm_op. The host carries calls and replies and
// controls every byte of them, also while they are being read; nothing is believed that is not
// signed by the authority or sealed by a session.
#pragma once

#include <array>
#include <cstdint>

#include "crypto/keys.hpp"
#include "hypervisor/core/nonce_table.hpp"
#include "hypervisor/core/operations.hpp"
#include "hypervisor/core/port.hpp"
#include "hypervisor/core/registration.hpp"
#include "hypervisor/core/session.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

inline constexpr std::size_t kMaxCallSize =
    sizeof(wire::OpHeader) + sizeof(wire::SealedHeader) + wire::kMaxRequestSize;
inline constexpr std::size_t kMaxReplySize =
    sizeof(wire::OpHeader) + sizeof(wire::SealedHeader) + wire::kMaxAnswerSize;

// Large (about 2.6 MiB) and allocates nothing: a port makes one at start, not on a stack. Not for
// two threads at a time.
class Core final {
  public:
    // `port` outlives this.
    Core(Port& port, crypto::SealingKeyPair key_pair, const wire::SigningKey& authority,
         bool allow_software_sgx);
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    // Both may be memory that others write to: `call` is copied once before anything looks at it,
    // `reply` is written once, when all of it is sealed, and never read. Returns the size of the
    // reply, an OpHeader and its payload; 0 when `reply` has not room for kMaxReplySize bytes.
    [[nodiscard]] std::size_t sgm_op(Bytes call, MutableBytes reply);

    // For who looks after the hypervisor: how many there are, and whose.
    [[nodiscard]] std::span<const Session> sessions() const { return sessions_.all(); }

  private:
    [[nodiscard]] wire::Status run(wire::Command command, MutableBytes payload, Writer& out);
    [[nodiscard]] wire::Status identity(Bytes payload, Writer& out);
    [[nodiscard]] wire::Status open(Bytes payload, Writer& out);
    [[nodiscard]] wire::Status revoke(Bytes payload, Writer& out);
    [[nodiscard]] wire::Status sealed(wire::Command command, MutableBytes payload, Writer& out);
    // The domain of a session that may go on; else it is closed.
    [[nodiscard]] std::expected<Domain*, wire::Status> still_valid(Session& session);
    [[nodiscard]] wire::Status execute(wire::Command command, Session& session, Domain& domain,
                                       Bytes batch, Writer& out);

    Port& port_;
    const Trust trust_;
    NonceTable nonces_;
    Revocations revocations_;
    SessionTable sessions_;
    Operations operations_;
    // Working memory, here so that no stack has to hold it.
    wire::RegisterRequest request_;
    wire::SignedRevocations signed_revocations_;
    std::array<std::uint8_t, kMaxCallSize> call_;
    std::array<std::uint8_t, kMaxReplySize> reply_;
};

}  // namespace sgm::hypervisor
