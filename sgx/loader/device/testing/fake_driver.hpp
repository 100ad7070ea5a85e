// SPDX-License-Identifier: MIT
// For tests: Linux's SGX driver at the border of system calls, with a software CPU behind it. It
// refuses what the kernel and the CPU refuse, with the same errno, and enters enclaves for real.
#pragma once

#include <map>
#include <memory>

#include "sgx/loader/device/driver.hpp"
#include "sgx/loader/device/testing/fake_enclave.hpp"
#include "sgx/loader/soft/platform.hpp"

namespace sgm::sgx::device::testing {

class FakeDriver final : public Driver {
  public:
    // `soft_enclu_offset`: where the images' word is that this CPU sets after EINIT.
    explicit FakeDriver(std::uint64_t soft_enclu_offset = 0, const Key128& fuses = {7});
    ~FakeDriver() override;

    Machine machine;

    int open(const char* path) override;
    void close(int descriptor) override;
    int ioctl(int descriptor, unsigned long request, void* argument) override;
    int map(std::uint64_t address, std::uint64_t size, int protection, int descriptor) override;
    std::uint64_t useful_xfrm() override { return machine.xfrm; }
    vdso_sgx_enter_enclave_t enter_function() override;

    // A power transition: all enclaves lose their memory, under the feet of whoever is inside.
    void sleep();

    [[nodiscard]] std::size_t open_enclaves() const { return enclaves_.size(); }
    // The one that was opened last, closed or not.
    [[nodiscard]] const FakeEnclave& enclave() const { return *last_; }
    [[nodiscard]] FakeEnclave& enclave() { return *last_; }
    [[nodiscard]] const soft::SoftPlatform& platform() const { return platform_; }

  private:
    std::uint64_t soft_enclu_offset_;
    soft::SoftPlatform platform_;
    std::map<int, std::shared_ptr<FakeEnclave>> enclaves_;
    std::map<int, config::Descriptor> provision_nodes_;
    std::shared_ptr<FakeEnclave> last_;
};

}  // namespace sgm::sgx::device::testing
