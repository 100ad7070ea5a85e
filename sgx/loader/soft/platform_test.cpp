// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/platform.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/text.hpp"

namespace sgm::sgx::soft {
namespace {

std::vector<std::uint8_t> unhex(const std::string& text) {
    std::vector<std::uint8_t> bytes(text.size() / 2);
    EXPECT_TRUE(config::parse_hex(text, bytes)) << text;
    return bytes;
}

std::string mac_of(const std::string& key, const std::string& message) {
    const auto key_bytes = unhex(key);
    return config::to_hex(Cmac{}(std::span<const std::uint8_t, 16>{key_bytes}, unhex(message)));
}

// RFC 4493, section 4.
TEST(CmacTest, the_examples_of_its_rfc_come_out) {
    const std::string key = "2b7e151628aed2a6abf7158809cf4f3c";
    EXPECT_EQ(mac_of(key, ""), "bb1d6929e95937287fa37d129b756746");
    EXPECT_EQ(mac_of(key, "6bc1bee22e409f96e93d7e117393172a"), "070a16b46b4d4144f79bdd9dd04a287c");
    EXPECT_EQ(mac_of(key,
                     "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
                     "30c81c46a35ce411"),
              "dfa66747de9ae63030ca32611497c827");
}

TEST(CmacTest, every_case_of_wycheproof_comes_out) {
    const char* vectors = std::getenv("SGM_TEST_VECTORS");
    if (vectors == nullptr)
        GTEST_SKIP() << "SGM_TEST_VECTORS does not name the directory of test vectors";
    std::ifstream file{std::string{vectors} + "/wycheproof/aes_cmac_test.json"};
    const auto json = nlohmann::json::parse(file);
    int cases = 0;
    for (const auto& group : json["testGroups"]) {
        if (group["keySize"] != 128 || group["tagSize"] != 128) continue;
        for (const auto& test : group["tests"]) {
            const bool same = mac_of(test["key"], test["msg"]) == test["tag"];
            EXPECT_EQ(same, test["result"] == "valid") << test["tcId"];
            ++cases;
        }
    }
    EXPECT_GT(cases, 50);
}

class PlatformTest : public testing::Test {
  protected:
    PlatformTest() : platform_{FuseKey{Key128{9}}} {
        secs_.attributes = {.flags = kAttributeInit | kAttributeMode64, .xfrm = 7};
        secs_.mrenclave = {1};
        secs_.mrsigner = {2};
        secs_.isvsvn = 5;
        request_.keyname = KeyName::seal;
        request_.keypolicy = kKeyPolicyMrenclave;
        request_.isvsvn = 5;
        request_.cpusvn = kSoftCpuSvn;
    }
    [[nodiscard]] Key128 key() const { return platform_.get_key(secs_, request_).value(); }
    [[nodiscard]] KeyError error() const { return platform_.get_key(secs_, request_).error(); }

    SoftPlatform platform_;
    Secs secs_{};
    KeyRequest request_{};
};

TEST_F(PlatformTest, a_report_key_is_the_one_that_its_target_gets) {
    TargetInfo target{};
    target.measurement = secs_.mrenclave;
    target.attributes = secs_.attributes;
    Secs other = secs_;
    other.mrenclave = {3};
    const Report report = platform_.create_report(other, target, ReportData{4});
    EXPECT_TRUE(platform_.verify_report(report, target));

    request_.keyname = KeyName::report;
    request_.keyid = report.keyid;
    EXPECT_EQ(key(), platform_.report_key(target, report.keyid));
    secs_.attributes.flags |= kAttributeDebug;
    EXPECT_NE(key(), platform_.report_key(target, report.keyid));
}

TEST_F(PlatformTest, no_byte_of_a_report_can_change) {
    TargetInfo target{};
    const Report report = platform_.create_report(secs_, target, {});
    for (std::size_t i = 0; i < sizeof report; ++i) {
        Report changed = report;
        mutable_bytes_of(changed)[i] ^= 1;
        EXPECT_FALSE(platform_.verify_report(changed, target)) << "byte " << i;
    }
}

TEST_F(PlatformTest, each_dependency_of_a_seal_key_counts) {
    const Key128 before = key();
    EXPECT_EQ(key(), before);
    const auto expect_other = [&](auto change) {
        const Secs secs = secs_;
        const KeyRequest request = request_;
        change();
        EXPECT_NE(key(), before);
        secs_ = secs;
        request_ = request;
    };
    expect_other([&] { secs_.mrenclave[31] ^= 1; });
    expect_other([&] { secs_.isvprodid ^= 1; });
    expect_other([&] { secs_.attributes.flags |= kAttributeDebug; });
    expect_other([&] { request_.keypolicy = kKeyPolicyMrsigner; });
    expect_other([&] { request_.keypolicy = kKeyPolicyMrenclave | kKeyPolicyMrsigner; });
    expect_other([&] { request_.isvsvn = 4; });
    expect_other([&] { request_.keyid[0] = 1; });
    expect_other([&] { request_.attributemask.xfrm = 7; });
    expect_other([&] { request_.cpusvn = {}; });
    // What the policy leaves out does not count.
    secs_.mrsigner[0] ^= 1;
    EXPECT_EQ(key(), before);
}

TEST_F(PlatformTest, requests_that_the_manual_refuses_are_refused) {
    request_.isvsvn = 6;
    EXPECT_EQ(error(), KeyError::invalid_isvsvn);
    request_.isvsvn = 5;
    request_.cpusvn[0] = 2;
    EXPECT_EQ(error(), KeyError::invalid_cpusvn);
    request_.cpusvn = kSoftCpuSvn;
    request_.keypolicy = kKeyPolicyConfigId;
    EXPECT_EQ(error(), KeyError::invalid_attribute);
    request_.keypolicy = 0;
    for (const KeyName name : {KeyName::einittoken, KeyName::provision, KeyName::provision_seal}) {
        request_.keyname = name;
        EXPECT_EQ(error(), KeyError::invalid_keyname);
    }
}

TEST_F(PlatformTest, secrets_for_other_purposes_differ) {
    EXPECT_NE(platform_.derive("quoting"), platform_.derive("Quoting"));
    EXPECT_EQ(platform_.derive("quoting"), SoftPlatform{FuseKey{Key128{9}}}.derive("quoting"));
    EXPECT_NE(platform_.derive("quoting"), SoftPlatform{FuseKey{Key128{8}}}.derive("quoting"));
}

}  // namespace
}  // namespace sgm::sgx::soft
