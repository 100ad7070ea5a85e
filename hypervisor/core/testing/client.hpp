// SPDX-License-Identifier: MIT
// The other parties of the protocol, for tests: an authority that signs what it is told to, and an
// IDS that registers and exchanges batches. Written from wire/sgm_op.hpp alone, so that it is a
// second opinion on the core; every message can be changed on its way.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "crypto/aead.hpp"
#include "crypto/keys.hpp"
#include "crypto/secret.hpp"
#include "hypervisor/core/core.hpp"
#include "wire/attestation.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor::testing {

using Message = std::vector<std::uint8_t>;

[[nodiscard]] Message frame(wire::Command command, std::initializer_list<Bytes> payload);

struct Reply {
    wire::Status status;
    Message payload;
};
// Who answers calls: a Core, or whatever else has a function like its sgm_op.
class Callee final {
  public:
    template <typename Hypervisor>
        requires std::invocable<decltype(&Hypervisor::sgm_op), Hypervisor&, Bytes, MutableBytes>
    Callee(Hypervisor& hypervisor)
        : sgm_op_{[&hypervisor](Bytes call, MutableBytes reply) {
              return hypervisor.sgm_op(call, reply);
          }} {}
    [[nodiscard]] std::size_t sgm_op(Bytes call, MutableBytes reply) const {
        return sgm_op_(call, reply);
    }

  private:
    std::function<std::size_t(Bytes, MutableBytes)> sgm_op_;
};

// One call; the reply is taken apart and checked to be a frame.
[[nodiscard]] Reply call(const Callee& hypervisor, Bytes message);

[[nodiscard]] wire::Identity identity(const Callee& hypervisor);

// A registration before the authority has signed it: a test changes what it wants first.
struct Registrar {
    crypto::Secret<32> secret;
    wire::RegistrationBinding binding;
    wire::AttestationResult result;

    // All as it should be, for a fresh nonce.
    Registrar(const Callee& hypervisor, const wire::Uuid& domain)
        : Registrar{identity(hypervisor), domain} {}
    Registrar(const wire::Identity& hypervisor, const wire::Uuid& domain);
    // Takes over what the binding says now.
    void rebind();
    [[nodiscard]] Message signed_by(const crypto::SigningKeyPair& authority) const;
};

// The enclave's end of a session.
class ClientSession final {
  public:
    // From the reply to `open`; nullptr when the confirmation is not authentic.
    [[nodiscard]] static std::unique_ptr<ClientSession> confirm(const Registrar& registrar,
                                                                Bytes reply_payload);

    // The next sealed call. Its counter is one more than the last.
    [[nodiscard]] Message seal(wire::Command command, Bytes batch);
    // The batch answer to the call with this counter, 0: the last; nullopt when not authentic.
    [[nodiscard]] std::optional<Message> open(wire::Command command, Bytes reply_payload,
                                              std::uint64_t counter = 0) const;

    wire::Confirmation confirmation{};
    std::uint64_t counter = 0;

  private:
    using Keys = std::array<std::uint8_t, 72>;
    ClientSession(const wire::Uuid& domain, const wire::SealedHeader& header, const Keys& keys);
    [[nodiscard]] wire::SealedAad aad(wire::Command command, wire::Direction direction,
                                      std::uint64_t counter, std::uint64_t size) const;

    wire::Uuid domain_;
    std::uint64_t session_;
    std::uint64_t epoch_;
    crypto::Aes256Gcm request_key_;
    crypto::Aes256Gcm answer_key_;
    std::array<std::uint8_t, 4> request_salt_;
    std::array<std::uint8_t, 4> answer_salt_;
};

// Registers and confirms; nullptr when it is refused.
[[nodiscard]] std::unique_ptr<ClientSession> open_session(const Callee& hypervisor,
                                                          const wire::Uuid& domain,
                                                          const crypto::SigningKeyPair& authority);

}  // namespace sgm::hypervisor::testing
