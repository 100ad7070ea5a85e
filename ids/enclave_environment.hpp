// SPDX-License-Identifier: MIT
// The Environment of an enclave: the shared ring, the OCALLs and EREPORT.
#pragma once

#include <optional>

#include "ids/environment.hpp"
#include "sgx/enclave/cpu_keys.hpp"
#include "sgx/enclave/untrusted.hpp"
#include "sgx/image/arch.hpp"
#include "wire/ring.hpp"

namespace sgm::ids {

// The host and the hypervisor process both write to the ring while we read: what comes out of it
// is copied once, here, with sizes clamped, and believed by nobody before it is opened.
class Ring final {
  public:
    // `memory`: kRingSize bytes, aligned as a RingHeader is.
    explicit Ring(enclave::Outside memory) : memory_{memory} {}

    // Looks for the reply for a while, and leaves the enclave only when that was in vain.
    [[nodiscard]] std::expected<std::size_t, EnvironmentError> call(Bytes call, MutableBytes reply);

  private:
    void set_state(wire::RingState state);
    [[nodiscard]] bool has_reply() const;
    [[nodiscard]] bool spin();
    [[nodiscard]] std::unexpected<EnvironmentError> give_up(EnvironmentError error);

    enclave::Outside memory_;
    unsigned vain_ = 0;  // looks in a row
};

class EnclaveEnvironment final : public Environment {
  public:
    EnclaveEnvironment(Ring ring, const sgx::TargetInfo& quoting_target)
        : ring_{ring}, quoting_target_{quoting_target} {}

    std::expected<std::size_t, EnvironmentError> call_hypervisor(Bytes call,
                                                                 MutableBytes reply) override;
    std::expected<void, EnvironmentError> send(wire::Peer peer, Bytes message) override;
    std::expected<std::size_t, EnvironmentError> receive(wire::Peer peer, std::uint64_t wait_ns,
                                                         MutableBytes into) override;
    std::expected<void, EnvironmentError> wait(std::uint64_t wait_ns) override;
    std::expected<std::array<std::uint8_t, 432>, EnvironmentError> report(
        const std::array<std::uint8_t, 64>& report_data) override;
    enclave::SealKeys& seal_keys() override { return seal_keys_; }
    bool memory_is_short() override;
    void set_last_words(void (*say)(void*), void* argument) override;

  private:
    Ring ring_;
    sgx::TargetInfo quoting_target_;
    enclave::EgetkeySealKeys seal_keys_;
};

// `start`: as enclave_main got it. Comes before the first key: with it the enclave's AES is chosen.
// nullopt: the host's ring does not lie where a ring may.
[[nodiscard]] std::optional<EnclaveEnvironment> enclave_environment(const wire::StartInfo& start);

}  // namespace sgm::ids
