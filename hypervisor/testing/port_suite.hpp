// SPDX-License-Identifier: MIT
// One test-suite for every port: the promises of hypervisor/core/port.hpp. A port brings a world in
// which it has one VM, and says what it supports:
//
//   INSTANTIATE_TEST_SUITE_P(Qemu, PortSuite, testing::Values(+[] { return make_world(); }));
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "hypervisor/core/port.hpp"

namespace sgm::hypervisor::testing {

class PortWorld {
  public:
    virtual ~PortWorld() = default;
    PortWorld() = default;
    PortWorld(const PortWorld&) = delete;
    PortWorld& operator=(const PortWorld&) = delete;

    [[nodiscard]] virtual Port& port() = 0;
    // False: the port has no VM, no clock and no randomness (hypervisor/skeleton), nothing else is
    // asked.
    [[nodiscard]] virtual bool supported() const { return true; }
    [[nodiscard]] virtual wire::Uuid uuid() const { return {}; }
    // Writes as the guest does, in the middle of its RAM.
    virtual void write(std::uint64_t, Bytes) {}
    // Pages that are taken up, in whatever unit.
    [[nodiscard]] virtual std::uint64_t populated_units() { return 0; }
    // Returns once the port has had the chance to hear of it.
    virtual void reset() {}
};

class PortSuite : public ::testing::TestWithParam<std::unique_ptr<PortWorld> (*)()> {
  protected:
    Domain& domain() { return *world->port().find(world->uuid()); }
    bool skip_unsupported() const { return !world->supported(); }

    std::unique_ptr<PortWorld> world = GetParam()();
};

}  // namespace sgm::hypervisor::testing
