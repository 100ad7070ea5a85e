// SPDX-License-Identifier: MIT
// An enclave's lives: when the CPU loses its memory (the machine slept), or it has used its memory
// up, it is loaded anew. What it knew is gone but what it sealed, so it registers anew, and the
// owner hears of that.
#pragma once

#include <expected>
#include <functional>

#include "config/error.hpp"
#include "host/ocalls.hpp"
#include "sgx/loader/loader.hpp"

namespace sgm::host {

// From loading to its end.
struct Life {
    std::expected<wire::EnclaveResult, sgx::EnclaveLoss> end;
    bool did_something;  // it made an OCALL
};

// Calls `live` until an enclave ends otherwise than for its memory. One that is lost before it did
// anything is not tried again: that would go on for ever. `live` fails when it cannot be loaded.
[[nodiscard]] config::Result<wire::EnclaveResult> live_until_the_end(
    const std::function<config::Result<Life>()>& live, const Logger& log);

}  // namespace sgm::host
