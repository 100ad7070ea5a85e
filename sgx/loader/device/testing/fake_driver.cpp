// SPDX-License-Identifier: MIT
#include "sgx/loader/device/testing/fake_driver.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <string_view>

#include "sgx/loader/device/testing/fake_cpu.hpp"

namespace sgm::sgx::device::testing {

FakeDriver::FakeDriver(std::uint64_t soft_enclu_offset, const Key128& fuses)
    : soft_enclu_offset_{soft_enclu_offset}, platform_{soft::FuseKey{fuses}} {}

FakeDriver::~FakeDriver() {
    for (const auto& [descriptor, enclave] : enclaves_)
        unplug(*enclave);
}

int FakeDriver::open(const char* path) {
    const bool provision = std::string_view{path} == kProvisionNode;
    if (!provision && std::string_view{path} != kEnclaveNode) return -ENOENT;
    if (const int error = provision ? machine.provision_node : machine.enclave_node; error != 0)
        return error;
    config::Descriptor memory{::memfd_create("fake-epc", MFD_CLOEXEC)};
    const int descriptor = memory.get();
    if (provision) {
        provision_nodes_[descriptor] = std::move(memory);
    } else {
        last_ = std::make_shared<FakeEnclave>(machine, std::move(memory));
        enclaves_[descriptor] = last_;
    }
    return descriptor;
}

void FakeDriver::close(int descriptor) {
    if (const auto found = enclaves_.find(descriptor); found != enclaves_.end()) {
        unplug(*found->second);
        enclaves_.erase(found);
    }
    provision_nodes_.erase(descriptor);
}

int FakeDriver::ioctl(int descriptor, unsigned long request, void* argument) {
    const auto found = enclaves_.find(descriptor);
    if (found == enclaves_.end()) return -EBADF;
    FakeEnclave& enclave = *found->second;
    if (argument == nullptr) return -EFAULT;
    switch (request) {
        case SGX_IOC_ENCLAVE_CREATE:
            return enclave.create(*static_cast<sgx_enclave_create*>(argument));
        case SGX_IOC_ENCLAVE_ADD_PAGES:
            return enclave.add_pages(*static_cast<sgx_enclave_add_pages*>(argument));
        case SGX_IOC_ENCLAVE_INIT: {
            const int result = enclave.initialise(*static_cast<sgx_enclave_init*>(argument));
            if (result == 0) plug_in(enclave, soft_enclu_offset_, platform_);
            return result;
        }
        case SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS:
            return enclave.restrict_permissions(
                *static_cast<sgx_enclave_restrict_permissions*>(argument));
        case SGX_IOC_ENCLAVE_PROVISION: {
            const auto node = static_cast<sgx_enclave_provision*>(argument)->fd;
            if (!provision_nodes_.contains(static_cast<int>(node))) return -EINVAL;
            enclave.allow_provision_key();
            return 0;
        }
        default: return -ENOTTY;
    }
}

int FakeDriver::map(std::uint64_t address, std::uint64_t size, int protection, int descriptor) {
    void* at = reinterpret_cast<void*>(address);
    if (descriptor < 0) {
        return ::mmap(at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
                       MAP_FAILED
                   ? -errno
                   : 0;
    }
    const auto found = enclaves_.find(descriptor);
    if (found == enclaves_.end()) return -EBADF;
    FakeEnclave& enclave = *found->second;
    if (machine.dev_is_noexec && (protection & PROT_EXEC) != 0) return -EPERM;
    if (const int refused = enclave.may_map(address, size, protection); refused != 0)
        return refused;
    if (::mmap(at, size, protection, MAP_SHARED | MAP_FIXED, enclave.memory(),
               static_cast<off_t>(address - enclave.base())) == MAP_FAILED)
        return -errno;
    enclave.note_mapping(address, size, protection);
    for (std::uint64_t page = address; page < address + size; page += kPageSize) {
        // Where no page is an access faults.
        if (!enclave.has_page(page) &&
            ::mprotect(reinterpret_cast<void*>(page), kPageSize, PROT_NONE) != 0)
            return -errno;
    }
    return 0;
}

vdso_sgx_enter_enclave_t FakeDriver::enter_function() {
    return machine.has_vdso_function ? &sgm_fake_vdso_sgx_enter_enclave : nullptr;
}

void FakeDriver::sleep() {
    for (const auto& [descriptor, enclave] : enclaves_) {
        enclave->lose_memory();
        if (enclave->size() != 0)
            ::mprotect(reinterpret_cast<void*>(enclave->base()), enclave->size(), PROT_NONE);
    }
}

}  // namespace sgm::sgx::device::testing
