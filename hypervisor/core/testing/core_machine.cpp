// SPDX-License-Identifier: MIT
#include "crypto/hash.hpp"
#include "hypervisor/core/core.hpp"
#include "hypervisor/core/testing/machine.hpp"

namespace sgm::hypervisor::testing {
namespace {

class CoreMachine final : public Machine {
  public:
    CoreMachine(std::vector<SyntheticGuest*> guests, crypto::SealingKeyPair key,
                const wire::SigningKey& authority)
        : port_{std::move(guests)},
          key_id_{crypto::sha256(key.public_key())},
          core_{port_, std::move(key), authority, /*allow_software_sgx=*/true} {}

    std::size_t sgm_op(Bytes call, MutableBytes reply) override {
        return core_.sgm_op(call, reply);
    }
    wire::Digest key_id() const override { return key_id_; }
    void set_clock_step(std::uint64_t ns) override { port_.clock_step_ns = ns; }

  private:
    SyntheticPort port_;
    wire::Digest key_id_;
    Core core_;
};

}  // namespace

std::unique_ptr<Machine> make_machine(std::vector<SyntheticGuest*> guests,
                                      const wire::SigningKey& authority) {
    return std::make_unique<CoreMachine>(std::move(guests),
                                         crypto::SealingKeyPair::generate().value(), authority);
}

}  // namespace sgm::hypervisor::testing
