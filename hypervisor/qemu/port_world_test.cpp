// SPDX-License-Identifier: MIT
// The port test-suite, against this port.
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config/temporary_directory.hpp"
#include "hypervisor/qemu/port.hpp"
#include "hypervisor/qemu/testing/fake_qemu.hpp"
#include "hypervisor/qemu/testing/wait.hpp"
#include "hypervisor/testing/port_suite.hpp"

namespace sgm::hypervisor::testing {
namespace {

class QemuWorld final : public PortWorld {
  public:
    QemuWorld() {
        EXPECT_EQ(::ftruncate(ram_.get(), 64l << 20), 0);
        qemu_.answer("info registers -a", R"("CPU#0\nCR0=80050033 CR3=1\nCPU#1\nCR0=80050033\n")");
        qemu::DomainSettings settings{};
        settings.uuid = uuid();
        settings.memory = fmt::format("/proc/self/fd/{}", ram_.get());
        settings.qmp = directory_ / "qmp";
        auto domain = std::make_unique<qemu::QemuDomain>(std::move(settings), 1);
        EXPECT_TRUE(domain->attach().has_value());
        (void)port_.add(std::move(domain));
    }
    Port& port() override { return port_; }
    wire::Uuid uuid() const override { return {1, 2, 3}; }
    void write(std::uint64_t physical, Bytes bytes) override {
        // The fake's map: the file begins at 0.
        EXPECT_EQ(::pwrite(ram_.get(), bytes.data(), bytes.size(), static_cast<off_t>(physical)),
                  std::ssize(bytes));
    }
    std::uint64_t populated_units() override {
        struct stat status{};
        EXPECT_EQ(::fstat(ram_.get(), &status), 0);
        return static_cast<std::uint64_t>(status.st_blocks);
    }
    void reset() override {
        const std::uint64_t before = port_.domain(uuid())->epoch();
        qemu_.event("RESET");
        (void)port_.domain(uuid())->hold();
        (void)port_.domain(uuid())->release();
        EXPECT_TRUE(qemu::testing::comes_true(
            "a new epoch", [&] { return port_.domain(uuid())->epoch() != before; }));
    }

  private:
    config::TemporaryDirectory directory_;
    config::Descriptor ram_{::memfd_create("ram", MFD_CLOEXEC)};
    qemu::testing::FakeQemu qemu_{directory_ / "qmp"};
    qemu::QemuPort port_;
};

INSTANTIATE_TEST_SUITE_P(Qemu, PortSuite, ::testing::Values(+[]() -> std::unique_ptr<PortWorld> {
                             return std::make_unique<QemuWorld>();
                         }));

}  // namespace
}  // namespace sgm::hypervisor::testing
