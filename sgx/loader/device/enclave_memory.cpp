// SPDX-License-Identifier: MIT
#include "sgx/loader/device/enclave_memory.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/device/secs.hpp"

namespace sgm::sgx::device {
namespace {

// How much is handed to the driver at once: the source has to be whole aligned pages in memory.
constexpr std::size_t kBatch = std::size_t{1} << 20;

// Page-aligned anonymous memory: what ADD_PAGES copies from. Never of a file, whose mount might be
// noexec, which the driver refuses.
class Pages final {
  public:
    explicit Pages(std::size_t size) : size_{size} {
        void* memory =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED) bytes_ = static_cast<std::uint8_t*>(memory);
    }
    ~Pages() {
        if (bytes_ != nullptr) ::munmap(bytes_, size_);
    }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    [[nodiscard]] explicit operator bool() const { return bytes_ != nullptr; }
    [[nodiscard]] MutableBytes bytes() const { return {bytes_, size_}; }

  private:
    std::uint8_t* bytes_ = nullptr;
    std::size_t size_;
};

std::unexpected<std::string> failed(Step step, int error) {
    return std::unexpected(explain(step, error));
}

}  // namespace

std::expected<std::unique_ptr<EnclaveMemory>, std::string> EnclaveMemory::build(
    Driver& driver, const EnclaveImage& image, const Sigstruct& sigstruct) {
    std::unique_ptr<EnclaveMemory> memory{new EnclaveMemory{driver}};
    const auto done = [&]() -> std::expected<void, std::string> {
        const int descriptor = driver.open(kEnclaveNode);
        if (descriptor < 0) return failed(Step::open, -descriptor);
        memory->descriptor_ = descriptor;
        if (auto ok = memory->reserve(image.layout().elrange_size); !ok) return ok;
        if (auto ok = memory->create(sigstruct); !ok) return ok;
        for (const Region& region : image.regions())
            if (auto ok = memory->add(region); !ok) return ok;
        if (auto ok = memory->initialise(sigstruct); !ok) return ok;
        // After the pages, whose permissions bound those of the mappings.
        for (const Region& region : image.regions())
            if (auto ok = memory->map(region); !ok) return ok;
        return memory->make_room(image.layout());
    }();
    if (!done) return std::unexpected(done.error());
    return memory;
}

EnclaveMemory::~EnclaveMemory() {
    if (size_ != 0) ::munmap(reinterpret_cast<void*>(base_), size_);
    if (descriptor_ >= 0) driver_.close(descriptor_);
}

// Twice the range, so that a naturally aligned one lies inside; the rest goes back.
std::expected<void, std::string> EnclaveMemory::reserve(std::uint64_t size) {
    void* reserved =
        ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return std::unexpected(
            fmt::format("no {} MiB of address space for the enclave", 2 * size >> 20));
    const auto start = reinterpret_cast<std::uint64_t>(reserved);
    base_ = (start + size - 1) & ~(size - 1);
    size_ = size;
    if (base_ != start) ::munmap(reserved, base_ - start);
    ::munmap(reinterpret_cast<void*>(base_ + size), start + size - base_);
    return {};
}

int EnclaveMemory::ioctl(unsigned long request, void* argument) {
    for (;;) {
        const int result = driver_.ioctl(descriptor_, request, argument);
        if (result != -EINTR) return result;
    }
}

std::expected<void, std::string> EnclaveMemory::create(const Sigstruct& sigstruct) {
    alignas(kPageSize) Secs secs{};
    secs.size = size_;
    secs.baseaddr = base_;
    secs.ssaframesize = kSsaFramePages;
    secs.miscselect = sigstruct.miscselect;
    secs.attributes = attributes_for(sigstruct, driver_.useful_xfrm());
    sgx_enclave_create request{.src = reinterpret_cast<std::uint64_t>(&secs)};
    if (const int result = ioctl(SGX_IOC_ENCLAVE_CREATE, &request); result != 0)
        return failed(Step::create, -result);
    if ((secs.attributes.flags & kAttributeProvisionKey) != 0) return grant_provision_key();
    return {};
}

std::expected<void, std::string> EnclaveMemory::grant_provision_key() {
    const int node = driver_.open(kProvisionNode);
    if (node < 0) return failed(Step::open_provision, -node);
    sgx_enclave_provision request{.fd = static_cast<__u64>(node)};
    const int result = ioctl(SGX_IOC_ENCLAVE_PROVISION, &request);
    driver_.close(node);
    if (result != 0) return failed(Step::provision, -result);
    return {};
}

std::expected<void, std::string> EnclaveMemory::add(const Region& region) {
    const Pages pages{std::min<std::size_t>(kBatch, region.size)};
    if (!pages) return std::unexpected("no memory to load the enclave from");
    for (std::uint64_t done = 0; done < region.size;) {
        const std::size_t size = std::min<std::size_t>(kBatch, region.size - done);
        const std::size_t there =
            done < region.contents.size() ? std::min(size, region.contents.size() - done) : 0;
        const MutableBytes batch = pages.bytes().first(size);
        if (there != 0) std::memcpy(batch.data(), region.contents.data() + done, there);
        if (there < size) std::memset(batch.data() + there, 0, size - there);
        if (auto ok = add_pages(region.offset + done, batch, region.flags, region.measured); !ok)
            return ok;
        done += size;
    }
    if (region.flags == kSecInfoTcs) {
        for (std::uint64_t page = 0; page < region.size; page += kPageSize)
            tcs_.push_back(base_ + region.offset + page);
    }
    return {};
}

std::expected<void, std::string> EnclaveMemory::add_pages(std::uint64_t offset, Bytes pages,
                                                          std::uint64_t flags, bool measured) {
    const SecInfo secinfo{.flags = flags, .reserved_8 = {}};
    std::size_t done = 0;
    while (done < pages.size()) {
        sgx_enclave_add_pages request{};
        request.src = reinterpret_cast<std::uint64_t>(pages.data() + done);
        request.offset = offset + done;
        request.length = pages.size() - done;
        request.secinfo = reinterpret_cast<std::uint64_t>(&secinfo);
        request.flags = measured ? SGX_PAGE_MEASURE : 0;
        if (const int result = ioctl(SGX_IOC_ENCLAVE_ADD_PAGES, &request); result != 0)
            return failed(Step::add, -result);
        // A signal ends the call early, with what was done in `count`.
        if (request.count == 0 || request.count > request.length) return failed(Step::add, EIO);
        done += request.count;
    }
    return {};
}

std::expected<void, std::string> EnclaveMemory::initialise(const Sigstruct& sigstruct) {
    sgx_enclave_init request{.sigstruct = reinterpret_cast<std::uint64_t>(&sigstruct)};
    if (const int result = ioctl(SGX_IOC_ENCLAVE_INIT, &request); result != 0)
        return failed(Step::init, -result);
    return {};
}

std::expected<void, std::string> EnclaveMemory::map(const Region& region) {
    int protection = 0;
    if ((region.flags & kSecInfoRead) != 0) protection |= PROT_READ;
    if ((region.flags & kSecInfoWrite) != 0) protection |= PROT_WRITE;
    if ((region.flags & kSecInfoExecute) != 0) protection |= PROT_EXEC;
    // Without permissions for software; the CPU itself reads and writes a TCS.
    if (region.flags == kSecInfoTcs) protection = PROT_READ | PROT_WRITE;
    const int result = driver_.map(base_ + region.offset, region.size, protection, descriptor_);
    if (result != 0) return failed(Step::map, -result);
    return {};
}

// Whether the driver offers SGX2 is asked by a call of SGX2 that can do nothing: for no pages. It
// answers that to the length (EINVAL), once it has looked at the CPU (ENODEV) and at whether the
// enclave runs (ioctl.c, sgx_ioc_sgx2_ready, 6.0); a kernel before 6.0 knows no such call (ENOTTY).
std::expected<void, std::string> EnclaveMemory::make_room(const EnclaveLayout& layout) {
    const std::uint64_t room = layout.heap_max - layout.heap_size;
    if (room == 0) return {};
    sgx_enclave_restrict_permissions nothing{};
    const int answer = ioctl(SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &nothing);
    if (answer != -EINVAL) {
        growth_ = fmt::format("its heap stays at {} MiB: {}", layout.heap_size >> 20,
                              answer == -ENODEV   ? "this CPU has no SGX2"
                              : answer == -ENOTTY ? "SGX2 needs Linux 6.0 or later"
                                                  : "the driver does not offer SGX2");
        return {};
    }
    const int mapped = driver_.map(base_ + layout.heap_offset + layout.heap_size, room,
                                   PROT_READ | PROT_WRITE, descriptor_);
    if (mapped != 0) return failed(Step::map, -mapped);
    heap_grows_ = true;
    growth_ = fmt::format("its heap can grow from {} to {} MiB (SGX2)", layout.heap_size >> 20,
                          layout.heap_max >> 20);
    return {};
}

void EnclaveMemory::revoke() {
    // Fails only where the kernel has no memory for the record of a mapping, and then there is
    // nothing else to try.
    static_cast<void>(driver_.map(base_, size_, PROT_NONE, -1));
}

}  // namespace sgm::sgx::device
