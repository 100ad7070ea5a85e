// SPDX-License-Identifier: MIT
// A hypervisor with its VMs, for tests that speak the protocol and nothing else. Which one is
// decided by what is linked: core_machine.cpp has the core over the synthetic port,
// hypervisor/xen/testing/xen_machine.cpp the sources of the Xen port over a Xen made of bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "wire/ids.hpp"

namespace sgm::hypervisor::testing {

class Machine {
  public:
    virtual ~Machine() = default;
    Machine() = default;
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    [[nodiscard]] virtual std::size_t sgm_op(Bytes call, MutableBytes reply) = 0;
    [[nodiscard]] virtual wire::Digest key_id() const = 0;
    virtual void set_clock_step(std::uint64_t ns) = 0;
    // What the calls so far did that they must not, to the hypervisor below; empty: nothing.
    [[nodiscard]] virtual std::string complaint() const { return {}; }
};

// With an identity of its own, and software SGX allowed. The guests outlive it. One at a time.
[[nodiscard]] std::unique_ptr<Machine> make_machine(std::vector<SyntheticGuest*> guests,
                                                    const wire::SigningKey& authority);

}  // namespace sgm::hypervisor::testing
