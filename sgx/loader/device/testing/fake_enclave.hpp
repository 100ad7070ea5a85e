// SPDX-License-Identifier: MIT
// For tests: one enclave as the kernel's driver and the CPU see it while it is built. Every rule
// here is the kernel's (arch/x86/kernel/cpu/sgx/ioctl.c and encl.c, 6.1) or the CPU's (Intel SDM
// vol. 3D, chapter 40), written anew: nothing of sgx/image or of the loader is used.
#pragma once

#include <asm/sgx.h>
#include <openssl/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "config/descriptor.hpp"
#include "sgx/image/arch.hpp"

namespace sgm::sgx::device::testing {

// What this CPU, firmware and kernel are like.
struct Machine {
    int enclave_node = 0;  // what open() of each node answers besides a descriptor: -errno
    int provision_node = 0;
    bool has_vdso_function = true;
    bool dev_is_noexec = false;
    bool sources_are_noexec = false;
    bool flexible_launch_control = true;
    bool sgx2 = true;             // CPUID.12H.0:EAX bit 1
    bool kernel_has_sgx2 = true;  // Linux 6.0
    std::uint64_t attributes = kAttributeDebug | kAttributeMode64 | kAttributeProvisionKey |
                               kAttributeEinitTokenKey | kAttributeKss;  // CPUID.12H.1:EAX
    std::uint64_t xfrm = 0x7;                                            // CPUID.12H.1:ECX
    std::uint32_t miscselect = 1;                                        // CPUID.12H.0:EBX
    std::uint64_t epc_pages = std::uint64_t{1} << 20;
    // A signal ends each ADD_PAGES after so many pages; 0: never.
    std::uint64_t pages_between_signals = 0;
};

// EINIT's answers (SDM vol. 3D, EINIT). The kernel tells its callers EPERM for all of them.
enum class EinitResult : std::uint32_t {
    success = 0,
    invalid_sig_struct = 1,
    invalid_attribute = 2,
    invalid_measurement = 4,
    invalid_signature = 8,
    invalid_einittoken = 16,
};

class FakeEnclave final {
  public:
    FakeEnclave(const Machine& machine, config::Descriptor memory);
    ~FakeEnclave();
    FakeEnclave(const FakeEnclave&) = delete;
    FakeEnclave& operator=(const FakeEnclave&) = delete;

    // As the kernel answers: 0 or -errno.
    [[nodiscard]] int create(const sgx_enclave_create& request);
    [[nodiscard]] int add_pages(sgx_enclave_add_pages& request);
    [[nodiscard]] int initialise(const sgx_enclave_init& request);
    [[nodiscard]] int restrict_permissions(sgx_enclave_restrict_permissions& request);
    // `protection`: PROT_READ, ...
    [[nodiscard]] int may_map(std::uint64_t address, std::uint64_t size, int protection) const;

    // A mapping was made that may_map() allowed. Where it has no page yet, one can be added.
    void note_mapping(std::uint64_t address, std::uint64_t size, int protection);
    [[nodiscard]] bool has_page(std::uint64_t address) const {
        return flags_.contains(address - base_);
    }
    // The page fault at an address without a page: EAUG, or false and the fault goes to the
    // process.
    [[nodiscard]] bool add_on_fault(std::uint64_t address);
    // ENCLU[EACCEPT] of a page that is there.
    [[nodiscard]] AcceptError accept(const SecInfo& expected, std::uint64_t address);

    void allow_provision_key() { attribute_mask_ |= kAttributeProvisionKey; }
    // A power transition: the pages are gone.
    void lose_memory() { lost_ = true; }

    [[nodiscard]] int memory() const { return memory_.get(); }
    [[nodiscard]] std::uint64_t base() const { return base_; }
    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] bool initialised() const { return initialised_; }
    [[nodiscard]] bool lost() const { return lost_; }
    [[nodiscard]] EinitResult einit_result() const { return einit_result_; }
    [[nodiscard]] const wire::Digest& mrenclave() const { return mrenclave_; }
    [[nodiscard]] wire::Digest mrsigner() const;
    [[nodiscard]] const Sigstruct& sigstruct() const { return sigstruct_; }
    [[nodiscard]] const Attributes& attributes() const { return attributes_; }
    // The CPU's own way to the pages, whatever the mappings say. Null before create().
    [[nodiscard]] std::uint8_t* pages() const { return pages_; }
    // Offsets of the TCS pages.
    [[nodiscard]] std::vector<std::uint64_t> tcs_offsets() const;

  private:
    [[nodiscard]] int ecreate(const std::uint8_t* secs);
    [[nodiscard]] int add_page(std::uint64_t source, std::uint64_t offset, std::uint64_t flags,
                               bool measured);
    [[nodiscard]] bool tcs_is_sound(const Tcs& tcs) const;
    [[nodiscard]] EinitResult einit() const;
    [[nodiscard]] bool range_is_sound(std::uint64_t offset, std::uint64_t length) const;
    void hash(const void* bytes, std::size_t size);
    void hash_record(const char* tag, std::uint64_t first, std::uint64_t second);

    struct FreeDigest {
        void operator()(EVP_MD_CTX* context) const;
    };

    const Machine& machine_;
    config::Descriptor memory_;
    std::uint8_t* pages_ = nullptr;
    std::uint64_t base_ = 0;
    std::uint64_t size_ = 0;
    Attributes attributes_{};
    std::uint32_t miscselect_ = 0;
    std::uint64_t attribute_mask_ = kAttributeDebug | kAttributeMode64 | kAttributeKss;
    std::map<std::uint64_t, std::uint64_t> flags_;  // of SECINFO, by the page's offset
    // Pages that were added to the running enclave. The kernel bounds no mapping of theirs.
    std::set<std::uint64_t> added_;
    struct Mapping {
        std::uint64_t size;
        int protection;
    };
    std::map<std::uint64_t, Mapping> mappings_;  // by offset
    std::unique_ptr<EVP_MD_CTX, FreeDigest> digest_;
    wire::Digest mrenclave_{};
    Sigstruct sigstruct_{};
    bool created_ = false;
    bool initialised_ = false;
    std::atomic<bool> lost_{false};
    EinitResult einit_result_ = EinitResult::success;
};

}  // namespace sgm::sgx::device::testing
