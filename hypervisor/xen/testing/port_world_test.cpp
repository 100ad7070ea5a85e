// SPDX-License-Identifier: MIT
// The port test-suite, against this port over a Xen made of bytes.
#include "hypervisor/testing/port_suite.hpp"
#include "hypervisor/xen/port.hpp"
#include "hypervisor/xen/testing/fake_xen.hpp"

namespace sgm::hypervisor::testing {
namespace {

class XenWorld final : public PortWorld {
  public:
    XenWorld() {
        guest_.vcpus[0].valid = wire::kRegCr3;
        xen::testing::fake_xen().reset({&guest_});
    }
    ~XenWorld() override {
        port_.end_call();
        EXPECT_EQ(xen::testing::fake_xen().complaint(), "");
        xen::testing::fake_xen().reset({});
    }
    Port& port() override { return port_; }
    wire::Uuid uuid() const override { return guest_.id; }
    void write(std::uint64_t physical, Bytes bytes) override { guest_.write(physical, bytes); }
    std::uint64_t populated_units() override { return guest_.populated(0, 4ul << 20).size; }
    // A domain is looked at when a call first asks for it.
    void reset() override {
        port_.end_call();
        ++guest_.current_epoch;
    }

  private:
    SyntheticGuest guest_{4ul << 20};
    xen::XenPort port_;
};

INSTANTIATE_TEST_SUITE_P(Xen, PortSuite, ::testing::Values(+[]() -> std::unique_ptr<PortWorld> {
                             return std::make_unique<XenWorld>();
                         }));

}  // namespace
}  // namespace sgm::hypervisor::testing
