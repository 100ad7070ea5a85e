// SPDX-License-Identifier: MIT
// The pages of one enclave, made by the driver: ECREATE, EADD with EEXTEND, EINIT, and the
// mappings. What the kernel does wrong here can stop the enclave; what it changes shows in
// MRENCLAVE, and EINIT refuses it.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "sgx/image/image.hpp"
#include "sgx/loader/device/driver.hpp"
#include "sgx/loader/device/errors.hpp"

namespace sgm::sgx::device {

class EnclaveMemory final {
  public:
    // `sigstruct` was verified and is for `image`. The error is one sentence for the operator.
    [[nodiscard]] static std::expected<std::unique_ptr<EnclaveMemory>, std::string> build(
        Driver& driver, const EnclaveImage& image, const Sigstruct& sigstruct);
    ~EnclaveMemory();  // nobody may be inside
    EnclaveMemory(const EnclaveMemory&) = delete;
    EnclaveMemory& operator=(const EnclaveMemory&) = delete;

    [[nodiscard]] std::uint64_t base() const { return base_; }
    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] bool contains(std::uint64_t address) const { return address - base_ < size_; }
    // Addresses of the thread control structures: as many threads can be inside.
    [[nodiscard]] const std::vector<std::uint64_t>& tcs() const { return tcs_; }

    // Whether the kernel adds pages where the heap has room to grow: on the page fault of the
    // enclave's EACCEPT (Linux 6.0, arch/x86/kernel/cpu/sgx/encl.c, sgx_encl_eaug_page).
    [[nodiscard]] bool heap_grows() const { return heap_grows_; }
    // One sentence, or nothing when the enclave was signed for a heap that does not grow.
    [[nodiscard]] const std::string& growth() const { return growth_; }

    // Takes the pages away, under the feet of whoever is inside: the next access faults, and the
    // vDSO brings that thread out. For good.
    void revoke();

  private:
    explicit EnclaveMemory(Driver& driver) : driver_{driver} {}
    [[nodiscard]] std::expected<void, std::string> reserve(std::uint64_t size);
    [[nodiscard]] std::expected<void, std::string> create(const Sigstruct& sigstruct);
    [[nodiscard]] std::expected<void, std::string> grant_provision_key();
    [[nodiscard]] std::expected<void, std::string> add(const Region& region);
    [[nodiscard]] std::expected<void, std::string> add_pages(std::uint64_t offset, Bytes pages,
                                                             std::uint64_t flags, bool measured);
    [[nodiscard]] std::expected<void, std::string> initialise(const Sigstruct& sigstruct);
    [[nodiscard]] std::expected<void, std::string> map(const Region& region);
    [[nodiscard]] std::expected<void, std::string> make_room(const EnclaveLayout& layout);
    [[nodiscard]] int ioctl(unsigned long request, void* argument);

    Driver& driver_;
    int descriptor_ = -1;
    std::uint64_t base_ = 0;
    std::uint64_t size_ = 0;
    std::vector<std::uint64_t> tcs_;
    bool heap_grows_ = false;
    std::string growth_;
};

}  // namespace sgm::sgx::device
