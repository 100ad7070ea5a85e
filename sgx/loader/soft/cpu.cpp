// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/cpu.hpp"

#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/extended_state.hpp"

extern "C" {
// cpu_entry.S
void sgm_soft_enter(sgm::sgx::soft::Crossing* crossing, std::uint64_t entry,
                    std::uint64_t thread_page, std::uint64_t tcs, std::uint64_t cssa);
void sgm_soft_enclu();
}

namespace sgm::sgx::soft {
namespace {

constinit Cpu* loaded = nullptr;

// Anonymous pages that no other process can map, read or trace, and that the kernel itself has no
// mapping of; never swapped. nullptr when the kernel or RLIMIT_MEMLOCK does not let us (errno).
void* map_secret(void* at, std::size_t size) {
#ifdef SYS_memfd_secret
    const auto descriptor = static_cast<int>(::syscall(SYS_memfd_secret, 0));
#else
    constexpr int descriptor = -1;
    errno = ENOSYS;
#endif
    if (descriptor < 0) return nullptr;
    void* memory = MAP_FAILED;
    if (::ftruncate(descriptor, static_cast<off_t>(size)) == 0)
        memory = ::mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0);
    const int error = errno;
    ::close(descriptor);
    errno = error;
    return memory == MAP_FAILED ? nullptr : memory;
}

void* map_ordinary(void* at, std::size_t size) {
    void* memory = ::mmap(at, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    ::madvise(memory, size, MADV_DONTDUMP);
    return memory;
}

std::string why_not_secret(int error) {
    if (error == EAGAIN) {
        rlimit limit{};
        ::getrlimit(RLIMIT_MEMLOCK, &limit);
        return fmt::format("RLIMIT_MEMLOCK allows {} KiB", limit.rlim_cur / 1024);
    }
    if (error == ENOSYS) return "this kernel has no memfd_secret";
    return std::strerror(error);
}

}  // namespace

std::expected<std::unique_ptr<Cpu>, std::string> Cpu::load(Bytes elf, Bytes sigstruct_bytes,
                                                           FuseKey key) {
    constexpr unsigned long kHwcap2Fsgsbase = 1u << 1;
    if ((::getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) == 0)
        return std::unexpected(
            "software SGX needs the FSGSBASE instructions: Linux 5.9 or later, and a CPU since "
            "Ivy Bridge or Zen");
    const auto image = EnclaveImage::build(elf);
    if (!image) return std::unexpected("the enclave file is refused: " + image.error());
    const auto sigstruct = verify_sigstruct(sigstruct_bytes);
    if (!sigstruct) return std::unexpected("the signature file is refused: " + sigstruct.error());

    std::unique_ptr<Cpu> cpu{new Cpu{std::move(key)}};
    Secs& secs = cpu->secs_;
    secs.attributes = attributes_for(*sigstruct, useful_xfrm(enabled_xfrm()));
    secs.miscselect = sigstruct->miscselect;
    secs.mrenclave = image->measure();
    if (const auto checked =
            check_enclave(*sigstruct, secs.mrenclave, secs.attributes, secs.miscselect);
        !checked)
        return std::unexpected("the enclave is refused: " + checked.error());
    constexpr std::uint64_t kKnownFlags = kAttributeDebug | kAttributeMode64;
    if ((secs.attributes.flags & ~kKnownFlags) != 0 ||
        (secs.attributes.flags & kAttributeMode64) == 0 || secs.miscselect != 0)
        return std::unexpected(
            "the enclave is refused: SIGSTRUCT.ATTRIBUTES asks for what software SGX has not");
    if ((secs.attributes.xfrm & ~enabled_xfrm()) != 0)
        return std::unexpected(fmt::format(
            "the enclave is refused: its XFRM {:#x} has state that this CPU has not ({:#x})",
            secs.attributes.xfrm, enabled_xfrm()));
    secs.mrsigner = mrsigner(*sigstruct);
    secs.isvprodid = sigstruct->isvprodid;
    secs.isvsvn = sigstruct->isvsvn;
    secs.attributes.flags |= kAttributeInit;

    if (auto mapped = cpu->map(*image); !mapped) return std::unexpected(std::move(mapped.error()));
    loaded = cpu.get();
    return cpu;
}

std::expected<void, std::string> Cpu::map(const EnclaveImage& image) {
    layout_ = image.layout();
    const std::size_t size = layout_.elrange_size;
    // Twice the range, so that a naturally aligned one lies inside; the rest goes back.
    void* reserved =
        ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return std::unexpected(
            fmt::format("no {} MiB of address space for the enclave", 2 * size >> 20));
    const auto start = reinterpret_cast<std::uint64_t>(reserved);
    base_ = (start + size - 1) & ~(size - 1);
    if (base_ != start) ::munmap(reserved, base_ - start);
    ::munmap(reinterpret_cast<void*>(base_ + size), start + size - base_);

    std::uint64_t ordinary = 0;
    std::string reason;
    const auto map_writable = [&](void* at, std::uint64_t bytes) {
        if (void* secret = map_secret(at, bytes)) return secret;
        ordinary += bytes;
        reason = why_not_secret(errno);
        return map_ordinary(at, bytes);
    };
    accepted_.resize((layout_.heap_max - layout_.heap_size) / kPageSize);
    if (!accepted_.empty() &&
        map_writable(reinterpret_cast<void*>(base_ + layout_.heap_offset + layout_.heap_size),
                     layout_.heap_max - layout_.heap_size) == nullptr)
        return std::unexpected("no memory for the heap to grow");
    for (const Region& region : image.regions()) {
        void* at = reinterpret_cast<void*>(base_ + region.offset);
        if (region.flags == kSecInfoTcs) {
            // The CPU's alone: not mapped at all. All threads enter at one place.
            const auto tcs = Reader{region.contents}.take<Tcs>();
            entry_ = tcs->oentry;
            continue;
        }
        const bool writable = (region.flags & kSecInfoWrite) != 0;
        void* memory = writable ? map_writable(at, region.size) : map_ordinary(at, region.size);
        if (memory == nullptr) return std::unexpected("no memory for the enclave's pages");
        if (!region.contents.empty())
            std::memcpy(memory, region.contents.data(), region.contents.size());
        const std::uint64_t soft_enclu = image.soft_enclu_offset() - region.offset;
        if (soft_enclu < region.size) {
            const auto hook = reinterpret_cast<std::uint64_t>(&sgm_soft_enclu);
            std::memcpy(static_cast<std::uint8_t*>(memory) + soft_enclu, &hook, sizeof hook);
        }
        const int protection = PROT_READ | (writable ? PROT_WRITE : 0) |
                               ((region.flags & kSecInfoExecute) != 0 ? PROT_EXEC : 0);
        if (::mprotect(memory, region.size, protection) != 0)
            return std::unexpected(
                fmt::format("the kernel refuses the enclave's page permissions: "
                            "{}",
                            std::strerror(errno)));
    }
    for (std::uint64_t i = 0; i < layout_.thread_count; ++i) {
        const std::uint64_t page = base_ + layout_.thread_offset + i * layout_.thread_stride();
        const auto record = reinterpret_cast<std::uint64_t>(&outer_[i]);
        std::memcpy(reinterpret_cast<void*>(page + kSoftThreadOffset), &record, sizeof record);
    }
    memory_protection_ =
        ordinary == 0 ? "the enclave's data lies in memfd_secret memory"
                      : fmt::format("{} KiB of the enclave's data lie in ordinary memory ({})",
                                    ordinary / 1024, reason);
    return {};
}

Cpu::~Cpu() {
    if (loaded == this) loaded = nullptr;
    if (base_ != 0) ::munmap(reinterpret_cast<void*>(base_), layout_.elrange_size);
}

void Cpu::enter(Crossing& crossing, std::size_t thread) {
    const std::uint64_t shift = base_ + thread * layout_.thread_stride();
    sgm_soft_enter(&crossing, entry(), shift + layout_.thread_offset, shift + layout_.tcs_offset,
                   0);
}

const Outer* Cpu::outer_of(std::uint64_t gs) const {
    const std::uint64_t offset = gs - base_ - layout_.thread_offset;
    const std::uint64_t thread = offset / layout_.thread_stride();
    if (offset % layout_.thread_stride() != 0 || thread >= layout_.thread_count) return nullptr;
    return &outer_[thread];
}

// An operand must lie in the enclave and be aligned, else #GP.
std::uint8_t* Cpu::operand(std::uint64_t address, std::size_t size, std::size_t alignment) const {
    if (!contains(address) || !contains(address + size - 1) || address % alignment != 0)
        __builtin_trap();
    return reinterpret_cast<std::uint8_t*>(address);
}

std::uint64_t Cpu::leaf(std::uint32_t number, std::uint64_t rbx, std::uint64_t rcx,
                        std::uint64_t rdx) {
    const std::lock_guard lock{leaf_mutex_};  // the platform's ciphers are one thread's at a time
    switch (Enclu{number}) {
        case Enclu::ereport: {
            TargetInfo target;
            ReportData data;
            std::memcpy(&target, operand(rbx, sizeof target, kTargetInfoAlignment), sizeof target);
            std::memcpy(&data, operand(rcx, sizeof data, kReportDataAlignment), sizeof data);
            const Report report = platform_.create_report(secs_, target, data);
            std::memcpy(operand(rdx, sizeof report, kReportAlignment), &report, sizeof report);
            return number;  // EREPORT leaves rax as it was
        }
        case Enclu::egetkey: {
            KeyRequest request;
            std::memcpy(&request, operand(rbx, sizeof request, kKeyRequestAlignment),
                        sizeof request);
            const auto key = platform_.get_key(secs_, request);
            if (!key) return static_cast<std::uint64_t>(key.error());
            std::memcpy(operand(rcx, key->size(), kKeyAlignment), key->data(), key->size());
            return static_cast<std::uint64_t>(KeyError::none);
        }
        case Enclu::eaccept: {
            SecInfo expected;
            std::memcpy(&expected, operand(rbx, sizeof expected, alignof(SecInfo)),
                        sizeof expected);
            return static_cast<std::uint64_t>(accept(expected, rcx));
        }
        default: __builtin_trap();
    }
}

// Intel SDM vol. 3D, EACCEPT. Where the heap may grow lies a pending page until it is taken; no
// other page is ever pending here.
AcceptError Cpu::accept(const SecInfo& expected, std::uint64_t page) {
    constexpr std::uint64_t kPending =
        kSecInfoRegular | kSecInfoPending | kSecInfoRead | kSecInfoWrite;
    static_cast<void>(operand(page, kPageSize, kPageSize));
    const std::uint64_t index =
        (page - base_ - layout_.heap_offset - layout_.heap_size) / kPageSize;
    if (expected.flags != kPending || index >= accepted_.size() || accepted_[index])
        return AcceptError::page_attributes_mismatch;
    accepted_[index] = true;
    return AcceptError::none;
}

}  // namespace sgm::sgx::soft

// From cpu_entry.S.
extern "C" std::uint64_t sgm_soft_leaf(std::uint32_t number, std::uint64_t rbx, std::uint64_t rcx,
                                       std::uint64_t rdx) {
    return sgm::sgx::soft::loaded->leaf(number, rbx, rcx, rdx);
}
