// SPDX-License-Identifier: MIT
// For tests: the hypervisor core called directly, without a session in between.
#pragma once

#include <vector>

#include "guest/transport.hpp"
#include "hypervisor/core/operations.hpp"

namespace sgm::guest::testing {

class DirectTransport final : public Transport {
  public:
    // Both outlive this.
    DirectTransport(hypervisor::Port& port, hypervisor::Domain& domain)
        : domain_{domain}, operations_{port}, answer_(wire::kMaxAnswerSize) {}

    std::expected<Bytes, TransportError> exchange(Bytes batch) override {
        const auto size = operations_.execute(domain_, batch, answer_);
        if (!size) return std::unexpected{TransportError::refused};
        return Bytes{answer_}.first(*size);
    }

  private:
    hypervisor::Domain& domain_;
    hypervisor::Operations operations_;
    std::vector<std::uint8_t> answer_;
};

}  // namespace sgm::guest::testing
