// SPDX-License-Identifier: MIT
// The fake driver refuses what the kernel refuses: each rule is broken here once by a caller who
// gets everything else right. And the real vDSO's symbols are found.
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/device/errors.hpp"
#include "sgx/loader/device/secs.hpp"
#include "sgx/loader/device/testing/fake_driver.hpp"
#include "sgx/loader/device/vdso.hpp"

namespace sgm::sgx::device {
namespace {

using testing::EinitResult;
using testing::FakeDriver;
using testing::FakeEnclave;

constexpr std::uint64_t kSize = 16 * kPageSize;
constexpr std::uint64_t kCode = kSecInfoRegular | kSecInfoRead | kSecInfoExecute;
constexpr std::uint64_t kData = kSecInfoRegular | kSecInfoRead | kSecInfoWrite;

const SignerKey& signer() {
    static const SignerKey key = SignerKey::generate().value();
    return key;
}

// A caller who builds a small enclave: code, data, a TCS with its SSA and thread pages.
class DriverRules : public ::testing::Test {
  protected:
    DriverRules() {
        void* reserved = ::mmap(nullptr, 2 * kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        base_ = (reinterpret_cast<std::uint64_t>(reserved) + kSize - 1) & ~(kSize - 1);
        secs_.size = kSize;
        secs_.baseaddr = base_;
        secs_.ssaframesize = 1;
        secs_.attributes = {.flags = kAttributeMode64, .xfrm = 7};
        tcs_.ossa = 3 * kPageSize;
        tcs_.nssa = 1;
        tcs_.ofsbase = tcs_.ogsbase = 4 * kPageSize;
        descriptor_ = driver_.open(kEnclaveNode);
    }
    ~DriverRules() override { ::munmap(reinterpret_cast<void*>(base_), kSize); }

    int create() {
        sgx_enclave_create request{.src = reinterpret_cast<std::uint64_t>(&secs_)};
        return driver_.ioctl(descriptor_, SGX_IOC_ENCLAVE_CREATE, &request);
    }
    int add(sgx_enclave_add_pages& request) {
        return driver_.ioctl(descriptor_, SGX_IOC_ENCLAVE_ADD_PAGES, &request);
    }
    sgx_enclave_add_pages page(std::uint64_t offset, std::uint64_t flags) {
        secinfo_ = {.flags = flags, .reserved_8 = {}};
        return {.src = reinterpret_cast<std::uint64_t>(&page_),
                .offset = offset,
                .length = kPageSize,
                .secinfo = reinterpret_cast<std::uint64_t>(&secinfo_),
                .flags = SGX_PAGE_MEASURE,
                .count = 0};
    }
    int add(std::uint64_t offset, std::uint64_t flags) {
        auto request = page(offset, flags);
        return add(request);
    }
    int add_tcs() {
        std::memcpy(page_.data(), &tcs_, sizeof tcs_);
        return add(2 * kPageSize, kSecInfoTcs);
    }
    // All pages, and a signature for what they measure.
    void build() {
        ASSERT_EQ(create(), 0);
        ASSERT_EQ(add(0, kCode), 0);
        ASSERT_EQ(add(kPageSize, kData), 0);
        ASSERT_EQ(add_tcs(), 0);
        ASSERT_EQ(add(3 * kPageSize, kData), 0);
        ASSERT_EQ(add(4 * kPageSize, kData), 0);
    }
    // A wrong measurement is how a caller learns the right one here; the kernel does not tell it.
    Sigstruct signature() {
        Sigstruct unsigned_fields = describe_enclave({}, {});
        sigstruct_ = sign_sigstruct(unsigned_fields, signer()).value();
        EXPECT_EQ(init(), -EPERM);
        EXPECT_EQ(driver_.enclave().einit_result(), EinitResult::invalid_measurement);
        unsigned_fields.enclavehash = driver_.enclave().mrenclave();
        return sign_sigstruct(unsigned_fields, signer()).value();
    }
    int init() {
        sgx_enclave_init request{.sigstruct = reinterpret_cast<std::uint64_t>(&sigstruct_)};
        return driver_.ioctl(descriptor_, SGX_IOC_ENCLAVE_INIT, &request);
    }
    void expect_einit(EinitResult result) {
        EXPECT_EQ(init(), -EPERM);
        EXPECT_EQ(driver_.enclave().einit_result(), result);
    }
    int map(std::uint64_t offset, int protection, std::uint64_t size = kPageSize) {
        return driver_.map(base_ + offset, size, protection, descriptor_);
    }

    FakeDriver driver_;
    int descriptor_ = -1;
    std::uint64_t base_ = 0;
    alignas(kPageSize) Secs secs_{};
    alignas(kPageSize) std::array<std::uint8_t, 2 * kPageSize> page_{};
    SecInfo secinfo_{};
    Tcs tcs_{};
    Sigstruct sigstruct_{};
};

TEST_F(DriverRules, a_caller_who_keeps_to_all_of_them_gets_an_enclave) {
    build();
    sigstruct_ = signature();
    EXPECT_EQ(init(), 0);
    EXPECT_EQ(map(0, PROT_READ | PROT_EXEC), 0);
    EXPECT_EQ(map(kPageSize, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(map(2 * kPageSize, PROT_READ | PROT_WRITE), 0);
}

TEST_F(DriverRules, nothing_comes_before_create_and_create_comes_once) {
    EXPECT_EQ(add(0, kCode), -EINVAL);
    EXPECT_EQ(init(), -EINVAL);
    EXPECT_EQ(create(), 0);
    EXPECT_EQ(create(), -EINVAL);
}

TEST_F(DriverRules, no_page_is_added_and_no_init_made_after_init) {
    build();
    sigstruct_ = signature();
    ASSERT_EQ(init(), 0);
    EXPECT_EQ(add(5 * kPageSize, kData), -EINVAL);
    EXPECT_EQ(init(), -EINVAL);
}

TEST_F(DriverRules, an_enclave_has_a_power_of_two_and_a_natural_place) {
    secs_.size = 3 * kPageSize;
    EXPECT_EQ(create(), -EINVAL);
    secs_.size = kSize;
    secs_.baseaddr += kPageSize;
    EXPECT_EQ(create(), -EIO);
}

TEST_F(DriverRules, ecreate_wants_what_the_cpu_has_and_zeros) {
    const auto refused = [&](auto break_it) {
        const Secs sound = secs_;
        break_it(secs_);
        const int result = create();
        secs_ = sound;
        return result == -EIO;
    };
    EXPECT_TRUE(refused([](Secs& secs) { secs.attributes.xfrm = 0xe7; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.attributes.xfrm = 1; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.attributes.flags |= kAttributeInit; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.attributes.flags |= std::uint64_t{1} << 40; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.miscselect = 2; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.ssaframesize = 0; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.reserved_24[3] = 1; }));
    EXPECT_TRUE(refused([](Secs& secs) { secs.filled_later[4000] = 1; }));
    EXPECT_EQ(create(), 0);
}

TEST_F(DriverRules, sources_offsets_and_lengths_are_whole_pages) {
    ASSERT_EQ(create(), 0);
    auto request = page(0, kCode);
    request.src += 8;
    EXPECT_EQ(add(request), -EINVAL);
    request = page(8, kCode);
    EXPECT_EQ(add(request), -EINVAL);
    request = page(0, kCode);
    request.length = 100;
    EXPECT_EQ(add(request), -EINVAL);
    request.length = 0;
    EXPECT_EQ(add(request), -EINVAL);
}

TEST_F(DriverRules, pages_lie_in_the_range_and_none_twice) {
    ASSERT_EQ(create(), 0);
    EXPECT_EQ(add(kSize, kCode), -EINVAL);
    EXPECT_EQ(add(~(kPageSize - 1), kCode), -EINVAL);
    EXPECT_EQ(add(0, kCode), 0);
    EXPECT_EQ(add(0, kCode), -EBUSY);
}

TEST_F(DriverRules, permissions_and_types_are_those_that_there_are) {
    ASSERT_EQ(create(), 0);
    EXPECT_EQ(add(0, kSecInfoRegular | kSecInfoWrite), -EINVAL) << "W without R";
    EXPECT_EQ(add(0, kSecInfoTcs | kSecInfoRead), -EINVAL) << "a TCS has no permissions";
    EXPECT_EQ(add(0, 0), -EINVAL) << "a SECS is not added";
    EXPECT_EQ(add(0, kCode | 0x10), -EINVAL) << "a reserved flag";
    auto request = page(0, kCode);
    secinfo_.reserved_8[55] = 1;
    EXPECT_EQ(add(request), -EINVAL) << "a reserved byte";
}

TEST_F(DriverRules, a_tcs_is_whole) {
    ASSERT_EQ(create(), 0);
    const auto refused = [&](auto break_it) {
        const Tcs sound = tcs_;
        break_it(tcs_);
        const int result = add_tcs();
        tcs_ = sound;
        return result == -EIO;
    };
    EXPECT_TRUE(refused([](Tcs& tcs) { tcs.flags = 2; }));
    EXPECT_TRUE(refused([](Tcs& tcs) { tcs.ossa += 8; }));
    EXPECT_TRUE(refused([](Tcs& tcs) { tcs.ofsbase += 8; }));
    EXPECT_TRUE(refused([](Tcs& tcs) { tcs.nssa = 0; }));
    EXPECT_TRUE(refused([](Tcs& tcs) { tcs.oentry = kSize; }));
    EXPECT_TRUE(refused([](Tcs& tcs) { tcs.reserved[0] = 1; }));
    EXPECT_EQ(add_tcs(), 0);
}

TEST_F(DriverRules, sources_are_memory_that_may_be_executed) {
    ASSERT_EQ(create(), 0);
    auto request = page(0, kCode);
    request.src = base_ + kSize;  // nothing is there
    ::munmap(reinterpret_cast<void*>(base_ + kSize), kPageSize);
    EXPECT_EQ(add(request), -EFAULT);
    driver_.machine.sources_are_noexec = true;
    EXPECT_EQ(add(0, kCode), -EACCES);
}

TEST_F(DriverRules, enclave_memory_ends) {
    driver_.machine.epc_pages = 2;
    ASSERT_EQ(create(), 0);
    EXPECT_EQ(add(0, kCode), 0);
    EXPECT_EQ(add(kPageSize, kData), -ENOMEM);
}

TEST_F(DriverRules, a_signal_ends_the_adding_of_pages_and_says_how_far_it_came) {
    driver_.machine.pages_between_signals = 1;
    ASSERT_EQ(create(), 0);
    auto request = page(0, kData);
    request.length = 2 * kPageSize;
    EXPECT_EQ(add(request), 0);
    EXPECT_EQ(request.count, kPageSize);
}

TEST_F(DriverRules, the_measurement_covers_place_flags_contents_and_what_is_measured) {
    const auto measured = [&](auto change) {
        FakeDriver driver;
        const int descriptor = driver.open(kEnclaveNode);
        sgx_enclave_create create{.src = reinterpret_cast<std::uint64_t>(&secs_)};
        EXPECT_EQ(driver.ioctl(descriptor, SGX_IOC_ENCLAVE_CREATE, &create), 0);
        page_.fill(0x11);
        auto request = page(0, kData);
        change(request);
        EXPECT_EQ(driver.ioctl(descriptor, SGX_IOC_ENCLAVE_ADD_PAGES, &request), 0);
        sigstruct_ = describe_enclave({}, {});
        sgx_enclave_init init{.sigstruct = reinterpret_cast<std::uint64_t>(&sigstruct_)};
        EXPECT_EQ(driver.ioctl(descriptor, SGX_IOC_ENCLAVE_INIT, &init), -EPERM);
        return driver.enclave().mrenclave();
    };
    const wire::Digest same = measured([](auto&) {});
    EXPECT_EQ(measured([](auto&) {}), same);
    EXPECT_NE(measured([](auto& request) { request.offset = kPageSize; }), same);
    EXPECT_NE(measured([&](auto&) { secinfo_.flags = kCode; }), same);
    EXPECT_NE(measured([&](auto&) { page_[kPageSize - 1] = 0; }), same);
    EXPECT_NE(measured([](auto& request) { request.flags = 0; }), same);
}

TEST_F(DriverRules, einit_refuses_every_kind_of_wrong_signature_by_its_code) {
    build();
    const Sigstruct good = signature();
    const auto with = [&](auto break_it) {
        sigstruct_ = good;
        break_it(sigstruct_);
    };
    with([](Sigstruct& s) { s.header[0] = 7; });
    expect_einit(EinitResult::invalid_sig_struct);
    with([](Sigstruct& s) { s.exponent = 65537; });
    expect_einit(EinitResult::invalid_sig_struct);
    with([](Sigstruct& s) { s.reserved_1028[0] = 1; });
    expect_einit(EinitResult::invalid_sig_struct);
    with([](Sigstruct& s) { s.signature[9] ^= 1; });
    expect_einit(EinitResult::invalid_signature);
    with([](Sigstruct& s) { s.isvsvn ^= 1; });
    expect_einit(EinitResult::invalid_signature);
    with([](Sigstruct& s) { s.q1[0] ^= 1; });
    expect_einit(EinitResult::invalid_signature);
    with([](Sigstruct& s) { s.q2[0] ^= 1; });
    expect_einit(EinitResult::invalid_signature);
    Sigstruct debug = describe_enclave(good.enclavehash, {.debug = true});
    sigstruct_ = sign_sigstruct(debug, signer()).value();
    expect_einit(EinitResult::invalid_attribute);
    debug.vendor = 1;
    sigstruct_ = debug;
    EXPECT_EQ(init(), -EINVAL) << "the kernel's own check of VENDOR";
    sigstruct_ = good;
    driver_.machine.flexible_launch_control = false;
    expect_einit(EinitResult::invalid_einittoken);
    driver_.machine.flexible_launch_control = true;
    EXPECT_EQ(init(), 0);
}

TEST_F(DriverRules, a_signature_that_demands_what_the_cpu_has_not_is_refused) {
    build();
    Sigstruct fields = describe_enclave({}, {.xfrm = 0xe7});
    sigstruct_ = sign_sigstruct(fields, signer()).value();
    EXPECT_EQ(init(), -EINVAL);
}

TEST_F(DriverRules, the_provision_key_needs_the_other_node) {
    secs_.attributes.flags |= kAttributeProvisionKey;
    build();
    EXPECT_EQ(init(), -EACCES);
    sgx_enclave_provision request{.fd = static_cast<__u64>(descriptor_)};
    EXPECT_EQ(driver_.ioctl(descriptor_, SGX_IOC_ENCLAVE_PROVISION, &request), -EINVAL);
    request.fd = static_cast<__u64>(driver_.open(kProvisionNode));
    EXPECT_EQ(driver_.ioctl(descriptor_, SGX_IOC_ENCLAVE_PROVISION, &request), 0);
    EXPECT_EQ(init(), -EPERM) << "no more the provision key, but the empty signature";
}

TEST_F(DriverRules, a_mapping_has_at_most_the_pages_permissions) {
    build();
    sigstruct_ = signature();
    ASSERT_EQ(init(), 0);
    EXPECT_EQ(map(0, PROT_READ | PROT_WRITE), -EACCES) << "code";
    EXPECT_EQ(map(kPageSize, PROT_READ | PROT_EXEC), -EACCES) << "data";
    EXPECT_EQ(map(2 * kPageSize, PROT_EXEC), -EACCES) << "a TCS";
    EXPECT_EQ(map(0, PROT_READ | PROT_EXEC, 2 * kPageSize), -EACCES) << "code and data as code";
    EXPECT_EQ(map(kSize - kPageSize, PROT_READ, 2 * kPageSize), -EACCES) << "beyond the range";
    driver_.machine.dev_is_noexec = true;
    EXPECT_EQ(map(0, PROT_READ | PROT_EXEC), -EPERM);
}

TEST_F(DriverRules, sgx2_is_for_a_cpu_a_kernel_and_an_enclave_that_have_come_so_far) {
    sgx_enclave_restrict_permissions request{};
    const auto restrict_with = [&](std::uint64_t offset, std::uint64_t length,
                                   std::uint64_t permissions) {
        request = {.offset = offset,
                   .length = length,
                   .permissions = permissions,
                   .result = 0,
                   .count = 0};
        return driver_.ioctl(descriptor_, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &request);
    };
    build();
    EXPECT_EQ(restrict_with(kPageSize, kPageSize, kSecInfoRead), -EINVAL) << "it does not run yet";
    sigstruct_ = signature();
    ASSERT_EQ(init(), 0);
    driver_.machine.kernel_has_sgx2 = false;
    EXPECT_EQ(restrict_with(kPageSize, kPageSize, kSecInfoRead), -ENOTTY);
    driver_.machine.kernel_has_sgx2 = true;
    driver_.machine.sgx2 = false;
    EXPECT_EQ(restrict_with(kPageSize, kPageSize, kSecInfoRead), -ENODEV);
    driver_.machine.sgx2 = true;
    EXPECT_EQ(restrict_with(0, 0, 0), -EINVAL) << "how the loader asks";
    EXPECT_EQ(restrict_with(1, kPageSize, kSecInfoRead), -EINVAL);
    EXPECT_EQ(restrict_with(kPageSize, kSize, kSecInfoRead), -EINVAL);
    EXPECT_EQ(restrict_with(kPageSize, kPageSize, kSecInfoWrite), -EINVAL);
    EXPECT_EQ(restrict_with(kPageSize, kPageSize, 8), -EINVAL);
    EXPECT_EQ(restrict_with(2 * kPageSize, kPageSize, kSecInfoRead), -EINVAL) << "a TCS";
    EXPECT_EQ(restrict_with(8 * kPageSize, kPageSize, kSecInfoRead), -EFAULT) << "no page";
    EXPECT_EQ(restrict_with(kPageSize, kPageSize, kSecInfoRead), 0);
    EXPECT_EQ(request.count, kPageSize);
}

TEST_F(DriverRules, a_page_is_added_on_a_fault_within_a_mapping_of_an_enclave_that_runs) {
    build();
    sigstruct_ = signature();
    ASSERT_EQ(init(), 0);
    FakeEnclave& enclave = driver_.enclave();
    const std::uint64_t place = base_ + 8 * kPageSize;
    EXPECT_FALSE(enclave.add_on_fault(place)) << "nothing is mapped there";
    ASSERT_EQ(map(8 * kPageSize, PROT_READ | PROT_WRITE, 2 * kPageSize), 0);
    driver_.machine.sgx2 = false;
    EXPECT_FALSE(enclave.add_on_fault(place));
    driver_.machine.sgx2 = true;
    driver_.machine.epc_pages = 0;
    EXPECT_FALSE(enclave.add_on_fault(place));
    driver_.machine.epc_pages = 100;
    EXPECT_TRUE(enclave.add_on_fault(place));
    EXPECT_FALSE(enclave.add_on_fault(place + 2 * kPageSize)) << "behind the mapping";

    constexpr std::uint64_t kPending = kData | kSecInfoPending;
    const auto accept = [&](std::uint64_t flags) {
        return enclave.accept({.flags = flags, .reserved_8 = {}}, place);
    };
    EXPECT_EQ(accept(kData), AcceptError::page_attributes_mismatch);
    EXPECT_EQ(accept(kPending | kSecInfoExecute), AcceptError::page_attributes_mismatch);
    EXPECT_EQ(accept(kPending), AcceptError::none);
    EXPECT_EQ(accept(kPending), AcceptError::page_attributes_mismatch) << "once";
}

TEST_F(DriverRules, sleep_takes_the_pages_of_an_enclave_that_is_being_built) {
    ASSERT_EQ(create(), 0);
    driver_.sleep();
    EXPECT_EQ(add(0, kCode), -EIO);
    EXPECT_EQ(init(), -EIO);
}

TEST(Vdso, its_functions_are_found_by_name_and_others_are_not) {
    const auto vdso = ::getauxval(AT_SYSINFO_EHDR);
    ASSERT_NE(vdso, 0u);
    const auto clock =
        reinterpret_cast<int (*)(clockid_t, timespec*)>(vdso_symbol(vdso, "__vdso_clock_gettime"));
    ASSERT_NE(clock, nullptr);
    timespec now{};
    EXPECT_EQ(clock(CLOCK_MONOTONIC, &now), 0);
    EXPECT_NE(now.tv_sec + now.tv_nsec, 0);
    EXPECT_EQ(vdso_symbol(vdso, "__vdso_no_such_function"), 0u);
}

TEST(DriverErrors, every_answer_is_a_sentence_and_those_that_are_known_say_what_to_do) {
    EXPECT_NE(explain(Step::init, EPERM).find("Flexible Launch Control"), std::string::npos);
    EXPECT_NE(explain(Step::map, EPERM).find("remount,exec /dev"), std::string::npos);
    EXPECT_NE(explain(Step::open, EACCES).find("add this user to the group"), std::string::npos);
    EXPECT_NE(explain(Step::open, EMFILE).find("Too many open files"), std::string::npos);
}

}  // namespace
}  // namespace sgm::sgx::device
