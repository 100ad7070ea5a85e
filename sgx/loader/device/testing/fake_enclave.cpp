// SPDX-License-Identifier: MIT
#include "sgx/loader/device/testing/fake_enclave.hpp"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "sgx/loader/device/testing/rsa_check.hpp"

namespace sgm::sgx::device::testing {
namespace {

constexpr std::uint64_t kPermissions = 0x7;
constexpr std::uint64_t kTypeMask = 0xff00;

bool all_zero(const std::uint8_t* bytes, std::size_t size) {
    return std::all_of(bytes, bytes + size, [](std::uint8_t byte) { return byte == 0; });
}

template <typename T>
T at(const std::uint8_t* bytes, std::size_t offset) {
    T value;
    std::memcpy(&value, bytes + offset, sizeof value);
    return value;
}

bool is_mapped(std::uint64_t address) {
    unsigned char resident = 0;
    return ::mincore(reinterpret_cast<void*>(address), kPageSize, &resident) == 0;
}

// Bytes of an SSA frame: XSAVE's standard form for these components, then GPRSGX (184 bytes).
std::uint64_t ssa_size(std::uint64_t xfrm) {
    std::uint64_t xsave = 576;
    if ((xfrm & 0x04) != 0) xsave = 832;   // AVX
    if ((xfrm & 0xe0) != 0) xsave = 2688;  // AVX-512
    return xsave + 184;
}

}  // namespace

void FakeEnclave::FreeDigest::operator()(EVP_MD_CTX* context) const {
    EVP_MD_CTX_free(context);
}

FakeEnclave::FakeEnclave(const Machine& machine, config::Descriptor memory)
    : machine_{machine}, memory_{std::move(memory)}, digest_{EVP_MD_CTX_new()} {}

FakeEnclave::~FakeEnclave() {
    if (pages_ != nullptr) ::munmap(pages_, size_);
}

void FakeEnclave::hash(const void* bytes, std::size_t size) {
    EVP_DigestUpdate(digest_.get(), bytes, size);
}

// The 64-byte records of SDM vol. 3D, 40.3: a tag, two numbers, zeros.
void FakeEnclave::hash_record(const char* tag, std::uint64_t first, std::uint64_t second) {
    std::array<std::uint8_t, 64> record{};
    std::memcpy(record.data(), tag, std::strlen(tag));
    std::memcpy(record.data() + 8, &first, sizeof first);
    std::memcpy(record.data() + 16, &second, sizeof second);
    hash(record.data(), record.size());
}

int FakeEnclave::create(const sgx_enclave_create& request) {
    if (created_) return -EINVAL;
    if (!is_mapped(request.src & ~(kPageSize - 1))) return -EFAULT;
    const auto* secs = reinterpret_cast<const std::uint8_t*>(request.src);
    if (!std::has_single_bit(at<std::uint64_t>(secs, 0))) return -EINVAL;
    if (machine_.epc_pages == 0) return -ENOMEM;
    return ecreate(secs);
}

// #GP of ECREATE is EIO.
int FakeEnclave::ecreate(const std::uint8_t* secs) {
    const auto size = at<std::uint64_t>(secs, 0);
    const auto base = at<std::uint64_t>(secs, 8);
    const auto ssa_pages = at<std::uint32_t>(secs, 16);
    const auto misc = at<std::uint32_t>(secs, 20);
    const auto attributes = at<Attributes>(secs, 48);
    const bool sound = size >= 2 * kPageSize && base % size == 0 && ssa_pages != 0 &&
                       ssa_pages * kPageSize >= ssa_size(attributes.xfrm) &&
                       (misc & ~machine_.miscselect) == 0 &&
                       (attributes.flags & ~machine_.attributes) == 0 &&
                       (attributes.xfrm & 3) == 3 && (attributes.xfrm & ~machine_.xfrm) == 0 &&
                       all_zero(secs + 24, 24) && all_zero(secs + 64, kPageSize - 64);
    if (!sound || ::ftruncate(memory_.get(), static_cast<off_t>(size)) != 0) return -EIO;
    void* pages =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_.get(), 0);
    if (pages == MAP_FAILED) return -ENOMEM;
    pages_ = static_cast<std::uint8_t*>(pages);
    base_ = base;
    size_ = size;
    attributes_ = attributes;
    miscselect_ = misc;
    created_ = true;
    EVP_DigestInit_ex(digest_.get(), EVP_sha256(), nullptr);
    // SSAFRAMESIZE has 4 bytes, SIZE follows it at 12.
    std::array<std::uint8_t, 64> record{};
    std::memcpy(record.data(), "ECREATE", 7);
    std::memcpy(record.data() + 8, &ssa_pages, sizeof ssa_pages);
    std::memcpy(record.data() + 12, &size, sizeof size);
    hash(record.data(), record.size());
    return 0;
}

bool FakeEnclave::range_is_sound(std::uint64_t offset, std::uint64_t length) const {
    return offset % kPageSize == 0 && length != 0 && length % kPageSize == 0 &&
           offset + length >= offset && offset + length - kPageSize < size_;
}

int FakeEnclave::add_pages(sgx_enclave_add_pages& request) {
    if (!created_ || initialised_) return -EINVAL;
    if (request.src % kPageSize != 0) return -EINVAL;
    if (!range_is_sound(request.offset, request.length)) return -EINVAL;
    const auto* secinfo = reinterpret_cast<const std::uint8_t*>(request.secinfo);
    const auto flags = at<std::uint64_t>(secinfo, 0);
    const std::uint64_t type = flags & kTypeMask;
    if (type != kSecInfoRegular && type != kSecInfoTcs) return -EINVAL;
    if ((flags & kSecInfoWrite) != 0 && (flags & kSecInfoRead) == 0) return -EINVAL;
    if (type == kSecInfoTcs && (flags & kPermissions) != 0) return -EINVAL;
    if ((flags & ~(kPermissions | kTypeMask)) != 0 || !all_zero(secinfo + 8, 56)) return -EINVAL;
    int result = 0;
    std::uint64_t done = 0;
    for (; done < request.length; done += kPageSize) {
        if (machine_.pages_between_signals != 0 &&
            done == machine_.pages_between_signals * kPageSize)
            break;
        result = add_page(request.src + done, request.offset + done, flags,
                          (request.flags & SGX_PAGE_MEASURE) != 0);
        if (result != 0) break;
    }
    request.count = done;
    return result;
}

int FakeEnclave::add_page(std::uint64_t source, std::uint64_t offset, std::uint64_t flags,
                          bool measured) {
    if (flags_.size() + 1 >= machine_.epc_pages) return -ENOMEM;
    if (flags_.contains(offset)) return -EBUSY;
    if (!is_mapped(source)) return -EFAULT;
    if (machine_.sources_are_noexec) return -EACCES;
    if (lost_) return -EIO;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(source);
    if ((flags & kTypeMask) == kSecInfoTcs && !tcs_is_sound(at<Tcs>(bytes, 0))) return -EIO;
    flags_[offset] = flags;
    // Fresh memory is zero already: a heap of zeros takes none.
    if (!all_zero(bytes, kPageSize)) std::memcpy(pages_ + offset, bytes, kPageSize);
    hash_record("EADD", offset, flags);
    if (!measured) return 0;
    constexpr std::uint64_t kChunk = 256;
    for (std::uint64_t chunk = 0; chunk < kPageSize; chunk += kChunk) {
        hash_record("EEXTEND", offset + chunk, 0);
        hash(bytes + chunk, kChunk);
    }
    return 0;
}

// #GP of EADD otherwise.
bool FakeEnclave::tcs_is_sound(const Tcs& tcs) const {
    return (tcs.flags & ~std::uint64_t{1}) == 0 && tcs.ossa % kPageSize == 0 &&
           tcs.ofsbase % kPageSize == 0 && tcs.ogsbase % kPageSize == 0 && tcs.nssa != 0 &&
           tcs.oentry < size_ && all_zero(tcs.reserved.data(), tcs.reserved.size());
}

int FakeEnclave::initialise(const sgx_enclave_init& request) {
    if (!created_ || initialised_) return -EINVAL;
    if (request.sigstruct == 0) return -EFAULT;
    sigstruct_ = at<Sigstruct>(reinterpret_cast<const std::uint8_t*>(request.sigstruct), 0);
    if (sigstruct_.vendor != 0 && sigstruct_.vendor != kVendorIntel) return -EINVAL;
    if ((attributes_.flags & ~attribute_mask_) != 0) return -EACCES;
    const std::uint64_t flags = sigstruct_.attributes.flags & sigstruct_.attributemask.flags;
    const std::uint64_t xfrm = sigstruct_.attributes.xfrm & sigstruct_.attributemask.xfrm;
    if ((flags & ~machine_.attributes) != 0 || (xfrm & ~machine_.xfrm) != 0 ||
        (sigstruct_.miscselect & sigstruct_.miscmask & ~machine_.miscselect) != 0)
        return -EINVAL;
    if (lost_) return -EIO;
    EVP_MD_CTX* copy = EVP_MD_CTX_new();
    EVP_MD_CTX_copy_ex(copy, digest_.get());
    EVP_DigestFinal_ex(copy, mrenclave_.data(), nullptr);
    EVP_MD_CTX_free(copy);
    einit_result_ = einit();
    if (einit_result_ != EinitResult::success) return -EPERM;
    initialised_ = true;
    return 0;
}

// In the order of the SDM's pseudo code.
EinitResult FakeEnclave::einit() const {
    const Sigstruct& s = sigstruct_;
    if (s.header != kSigstructHeader || s.header2 != kSigstructHeader2 || s.exponent != 3 ||
        !all_zero(s.reserved_44.data(), 84) || !all_zero(s.reserved_910.data(), 2) ||
        !all_zero(s.reserved_992.data(), 16) || !all_zero(s.reserved_1028.data(), 12))
        return EinitResult::invalid_sig_struct;
    if (!signature_verifies(s) || !quotients_are_right(s)) return EinitResult::invalid_signature;
    if (s.enclavehash != mrenclave_) return EinitResult::invalid_measurement;
    const auto differ = [](std::uint64_t mine, std::uint64_t signed_value, std::uint64_t mask) {
        return ((mine ^ signed_value) & mask) != 0;
    };
    if (differ(attributes_.flags, s.attributes.flags, s.attributemask.flags) ||
        differ(attributes_.xfrm, s.attributes.xfrm, s.attributemask.xfrm) ||
        differ(miscselect_, s.miscselect, s.miscmask))
        return EinitResult::invalid_attribute;
    // Without launch control IA32_SGXLEPUBKEYHASH is the vendor's key, and there is no token.
    if (!machine_.flexible_launch_control) return EinitResult::invalid_einittoken;
    return EinitResult::success;
}

int FakeEnclave::may_map(std::uint64_t address, std::uint64_t size, int protection) const {
    if (initialised_ && (address < base_ || address + size > base_ + size_)) return -EACCES;
    if ((static_cast<unsigned>(::personality(0xffffffff)) & READ_IMPLIES_EXEC) != 0) return -EACCES;
    for (auto page = flags_.lower_bound(address - base_);
         page != flags_.end() && page->first < address - base_ + size; ++page) {
        if (added_.contains(page->first)) continue;
        int most = 0;
        if ((page->second & kSecInfoRead) != 0) most |= PROT_READ;
        if ((page->second & kSecInfoWrite) != 0) most |= PROT_WRITE;
        if ((page->second & kSecInfoExecute) != 0) most |= PROT_EXEC;
        if ((page->second & kTypeMask) == kSecInfoTcs) most = PROT_READ | PROT_WRITE;
        if ((protection & ~most) != 0) return -EACCES;
    }
    return 0;
}

// sgx_ioc_enclave_restrict_permissions, 6.1. EMODPR takes permissions away and gives none; the page
// then waits for the enclave's EACCEPT.
int FakeEnclave::restrict_permissions(sgx_enclave_restrict_permissions& request) {
    if (!machine_.kernel_has_sgx2) return -ENOTTY;
    if (!machine_.sgx2) return -ENODEV;
    if (!initialised_) return -EINVAL;
    if (!range_is_sound(request.offset, request.length)) return -EINVAL;
    if ((request.permissions & ~kPermissions) != 0) return -EINVAL;
    if ((request.permissions & kSecInfoWrite) != 0 && (request.permissions & kSecInfoRead) == 0)
        return -EINVAL;
    if (request.result != 0 || request.count != 0) return -EINVAL;
    for (; request.count < request.length; request.count += kPageSize) {
        const auto page = flags_.find(request.offset + request.count);
        if (page == flags_.end() || lost_) return -EFAULT;
        if ((page->second & kTypeMask) != kSecInfoRegular) return -EINVAL;
        if ((page->second & kSecInfoPending) != 0) {
            request.result = 20;  // SGX_PAGE_NOT_MODIFIABLE
            return -EFAULT;
        }
        page->second &= ~kPermissions | request.permissions;
    }
    return 0;
}

void FakeEnclave::note_mapping(std::uint64_t address, std::uint64_t size, int protection) {
    mappings_[address - base_] = {size, protection};
}

// sgx_vma_fault and sgx_encl_eaug_page: only for an enclave that runs, within a mapping of it, and
// as long as there is EPC.
bool FakeEnclave::add_on_fault(std::uint64_t address) {
    const std::uint64_t offset = (address - base_) & ~(kPageSize - 1);
    auto mapping = mappings_.upper_bound(offset);
    if (mapping == mappings_.begin()) return false;
    --mapping;
    if (offset - mapping->first >= mapping->second.size || mapping->second.protection == PROT_NONE)
        return false;
    if (!machine_.sgx2 || !machine_.kernel_has_sgx2 || !initialised_ || lost_) return false;
    if (flags_.size() + 1 >= machine_.epc_pages) return false;
    flags_[offset] = kSecInfoRegular | kSecInfoPending | kSecInfoRead | kSecInfoWrite;
    added_.insert(offset);
    return true;
}

// SDM vol. 3D, EACCEPT: the page must be exactly what the enclave expects.
AcceptError FakeEnclave::accept(const SecInfo& expected, std::uint64_t address) {
    std::uint64_t& flags = flags_.at(address - base_);
    if ((flags & kSecInfoPending) == 0 || flags != expected.flags)
        return AcceptError::page_attributes_mismatch;
    flags &= ~std::uint64_t{kSecInfoPending};
    ::mprotect(reinterpret_cast<void*>(address), kPageSize, PROT_READ | PROT_WRITE);
    return AcceptError::none;
}

wire::Digest FakeEnclave::mrsigner() const {
    wire::Digest digest{};
    SHA256(sigstruct_.modulus.data(), sigstruct_.modulus.size(), digest.data());
    return digest;
}

std::vector<std::uint64_t> FakeEnclave::tcs_offsets() const {
    std::vector<std::uint64_t> offsets;
    for (const auto& [offset, flags] : flags_)
        if ((flags & kTypeMask) == kSecInfoTcs) offsets.push_back(offset);
    return offsets;
}

}  // namespace sgm::sgx::device::testing
