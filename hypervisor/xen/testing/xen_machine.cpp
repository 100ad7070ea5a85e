// SPDX-License-Identifier: MIT
// The Xen port's own sources, from the entry that Xen's C calls, over a Xen made of bytes.
#include <algorithm>
#include <cstdlib>
#include <new>

#include "hypervisor/core/testing/machine.hpp"
#include "hypervisor/xen/shim.h"
#include "hypervisor/xen/testing/fake_xen.hpp"
#include "wire/xen_op.h"

namespace sgm::hypervisor::testing {
namespace {

constexpr std::align_val_t kAlignment{64};

// What Xen gives the port at boot. There is never a second one, so neither here.
void* boot_memory() {
    static void* const memory = ::operator new(sgm_xen_memory_size(), kAlignment);
    return memory;
}

class XenMachine final : public Machine {
  public:
    XenMachine(std::vector<SyntheticGuest*> guests, const wire::SigningKey& authority) {
        xen::testing::fake_xen().reset(std::move(guests));
        if (sgm_xen_start(boot_memory(), authority.data(), /*allow_software_sgx=*/1, &keys_) !=
            SGM_XEN_ON) {
            std::abort();
        }
    }
    ~XenMachine() override { xen::testing::fake_xen().reset({}); }

    // As shim.c does: the call lies in Xen's memory, the reply is copied out once.
    std::size_t sgm_op(Bytes call, MutableBytes reply) override {
        if (call.size() > SGM_XEN_MAX_CALL || reply.size() < SGM_XEN_MAX_REPLY) return 0;
        const std::size_t size =
            sgm_xen_serve(call.data(), static_cast<std::uint32_t>(call.size()), reply_.data());
        std::copy_n(reply_.begin(), size, reply.begin());
        return size;
    }
    wire::Digest key_id() const override {
        wire::Digest id;
        std::ranges::copy(keys_.key_id, id.begin());
        return id;
    }
    void set_clock_step(std::uint64_t ns) override { xen::testing::fake_xen().clock_step_ns = ns; }
    std::string complaint() const override { return xen::testing::fake_xen().complaint(); }

  private:
    sgm_xen_keys keys_{};
    std::vector<std::uint8_t> reply_ = std::vector<std::uint8_t>(SGM_XEN_MAX_REPLY);
};

}  // namespace

std::unique_ptr<Machine> make_machine(std::vector<SyntheticGuest*> guests,
                                      const wire::SigningKey& authority) {
    return std::make_unique<XenMachine>(std::move(guests), authority);
}

}  // namespace sgm::hypervisor::testing
