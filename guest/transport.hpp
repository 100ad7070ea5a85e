// SPDX-License-Identifier: MIT
// The one way from the IDS to guest memory: a batch of operations out, a batch of answers back.
// In the enclave it is a sealed session (ids/session.hpp); in tests it is the hypervisor core's
// operations called directly.
#pragma once

#include <expected>
#include <string_view>

#include "wire/bytes.hpp"

namespace sgm::guest {

enum class TransportError {
    refused,      // the answer did not authenticate, or the hypervisor refused: session lost
    unreachable,  // no answer came
    too_large,    // the batch does not fit kMaxRequestSize
};

[[nodiscard]] constexpr std::string_view text(TransportError error) {
    switch (error) {
        case TransportError::refused: return "the hypervisor's answer was refused";
        case TransportError::unreachable: return "the hypervisor did not answer";
        case TransportError::too_large: return "the request is too large";
    }
    return "unknown";
}

class Transport {
  public:
    virtual ~Transport() = default;

    // `batch`: BatchHeader and operations (wire/sgm_op.hpp). The answer (BatchAnswer and results)
    // is already copied and authentic, but its contents come from a guest that may be hostile.
    // It stays valid until the next exchange.
    [[nodiscard]] virtual std::expected<Bytes, TransportError> exchange(Bytes batch) = 0;

  protected:
    Transport() = default;
    Transport(const Transport&) = default;
    Transport& operator=(const Transport&) = default;
};

}  // namespace sgm::guest
