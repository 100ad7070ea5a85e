// SPDX-License-Identifier: MIT
#include "host/lives.hpp"

namespace sgm::host {

config::Result<wire::EnclaveResult> live_until_the_end(
    const std::function<config::Result<Life>()>& live, const Logger& log) {
    for (;;) {
        const auto life = live();
        if (!life) return std::unexpected(life.error());
        if (life->end == wire::EnclaveResult::out_of_memory) {
            if (!life->did_something)
                return std::unexpected(config::Error{
                    "the enclave's heap is too small to begin with: sign it with a larger "
                    "heap_mib"});
            log("the enclave ended because its heap is full (heap_mib, when it is signed); loading "
                "it anew");
            continue;
        }
        if (life->end) return *life->end;
        const std::string why = sgx::text(life->end.error());
        if (life->end.error().cause != sgx::EnclaveLoss::Cause::memory_lost)
            return std::unexpected(config::Error{why});
        if (!life->did_something)
            return std::unexpected(
                config::Error{why +
                              "; it was lost before it did anything, so this is given up: see "
                              "`dmesg | grep -i sgx`"});
        log(why + "; loading it");
    }
}

}  // namespace sgm::host
