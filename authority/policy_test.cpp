// SPDX-License-Identifier: MIT
#include "authority/policy.hpp"

#include <gtest/gtest.h>

#include "authority/init.hpp"
#include "authority/testing.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"

namespace sgm::authority {
namespace {

const std::string kUuid = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";
const std::string kHex(64, 'a');

class PolicyFile : public testing::Test {
  protected:
    PolicyFile() {
        EXPECT_TRUE(config::create_sealing_key_pair(dir_ / "hypervisor"));
        EXPECT_TRUE(config::create_signing_key_pair(dir_ / "owner-signing"));
        EXPECT_TRUE(config::create_sealing_key_pair(dir_ / "owner-sealing"));
    }

    // What is wrong with the lines when they follow three good ones; "" for nothing.
    [[nodiscard]] std::string refusal(const std::string& lines) const {
        const auto path = dir_.write("authority.toml",
                                     "listen = \"127.0.0.1\"\nport = 0\n"
                                     "signing_key = \"authority.key\"\n" +
                                         lines);
        const auto settings = load_settings(path);
        return settings ? "" : settings.error().sentence.substr(path.string().size());
    }

    [[nodiscard]] static std::string domain(const std::string& uuid) {
        return "[[domain]]\nuuid = \"" + uuid +
               "\"\nhypervisor_key = \"hypervisor.pub\"\n"
               "owner_signing_key = \"owner-signing.pub\"\n"
               "owner_sealing_key = \"owner-sealing.pub\"\n";
    }

    [[nodiscard]] InitOptions full_options() const {
        return {.dir = dir_ / "authority",
                .listen = "127.0.0.1",
                .port = 0,
                .domain = kUuid,
                .hypervisor_key = dir_ / "hypervisor.pub",
                .owner_signing_key = dir_ / "owner-signing.pub",
                .owner_sealing_key = dir_ / "owner-sealing.pub",
                .software_sgx_root = machine_.root_path(),
                .approved_mrenclaves = {kHex, std::string(64, 'b')}};
    }

    config::TemporaryDirectory dir_;
    Machine machine_;
};

TEST_F(PolicyFile, what_init_writes_is_read_back) {
    ASSERT_TRUE(init(full_options()));
    const auto settings = load_settings(dir_ / "authority/authority.toml");
    ASSERT_TRUE(settings) << settings.error().sentence;
    EXPECT_EQ(settings->port, 0);
    EXPECT_TRUE(config::load_signing_key_pair(settings->signing_key));
    EXPECT_TRUE(settings->policy.software_root);
    ASSERT_EQ(settings->policy.approvals.size(), 2u);
    EXPECT_EQ(std::get<ApprovedEnclave>(settings->policy.approvals[0].enclave).mrenclave,
              filled<32>(0xaa));
    ASSERT_EQ(settings->policy.domains.size(), 1u);
    const Domain& enrolled = settings->policy.domains.front();
    EXPECT_EQ(config::uuid_text(enrolled.uuid), kUuid);
    EXPECT_EQ(enrolled.hypervisor_key_id,
              crypto::sha256(config::load_sealing_key(dir_ / "hypervisor.pub").value()));
    EXPECT_EQ(enrolled.owner.signing, config::load_signing_key(dir_ / "owner-signing.pub"));
    EXPECT_EQ(enrolled.owner.sealing, config::load_sealing_key(dir_ / "owner-sealing.pub"));
}

TEST_F(PolicyFile, init_with_nothing_given_writes_a_policy_that_approves_nothing) {
    InitOptions options;
    options.dir = dir_ / "authority";
    ASSERT_TRUE(init(options));
    const auto settings = load_settings(dir_ / "authority/authority.toml");
    ASSERT_TRUE(settings) << settings.error().sentence;
    EXPECT_TRUE(settings->policy.approvals.empty());
    EXPECT_TRUE(settings->policy.domains.empty());
    EXPECT_FALSE(settings->policy.software_root);
}

TEST_F(PolicyFile, init_overwrites_nothing) {
    ASSERT_TRUE(init(full_options()));
    EXPECT_FALSE(init(full_options()));
}

TEST_F(PolicyFile, init_refuses_what_run_would_refuse) {
    InitOptions options = full_options();
    options.domain = "x";
    EXPECT_FALSE(init(options));
    options = full_options();
    options.approved_mrenclaves = {"12ab"};
    EXPECT_FALSE(init(options));
    options = full_options();
    options.owner_sealing_key.clear();
    EXPECT_FALSE(init(options));
    EXPECT_FALSE(std::filesystem::exists(dir_ / "authority"));
}

TEST_F(PolicyFile, an_approval_says_either_what_or_who) {
    EXPECT_EQ(refusal("[[approve]]\nmrenclave = \"" + kHex + "\"\n"), "");
    EXPECT_EQ(refusal("[[approve]]\nmrsigner = \"" + kHex +
                      "\"\nproduct_id = 1\nminimum_svn = 2\ndomains = [\"" + kUuid + "\"]\n"),
              "");
    const std::string either =
        ":4: [[approve]] needs either 'mrenclave', or 'mrsigner', 'product_id' and 'minimum_svn'";
    EXPECT_EQ(refusal("[[approve]]\n"), either);
    EXPECT_EQ(refusal("[[approve]]\nmrsigner = \"" + kHex + "\"\n"), ":4: 'product_id' is missing");
    EXPECT_EQ(refusal("[[approve]]\nmrenclave = \"" + kHex + "\"\nminimum_svn = 2\n"),
              ":6: unknown key 'minimum_svn'")
        << "an approval that does not mean what it says";
    EXPECT_EQ(refusal("[[approve]]\nmrenclave = \"12ab\"\n"),
              ":5: 'mrenclave' must be 64 hexadecimal digits");
    EXPECT_EQ(refusal("[[approve]]\nmrenclave = \"" + kHex + "\"\ndomains = []\n"),
              ":6: 'domains' must name at least one; leave it out to mean all");
    EXPECT_EQ(refusal("[[approve]]\nmrenclave = \"" + kHex + "\"\ndomains = [\"all\"]\n"),
              ":6: 'domains' must be a list of UUIDs");
}

TEST_F(PolicyFile, a_domain_needs_all_its_keys_and_is_enrolled_once) {
    EXPECT_EQ(refusal(domain(kUuid)), "");
    EXPECT_EQ(refusal(domain(kUuid) + domain(kUuid)), ":10: this domain is already enrolled above");
    EXPECT_EQ(refusal("[[domain]]\nuuid = \"" + kUuid + "\"\n"), ":4: 'hypervisor_key' is missing");
    std::filesystem::remove(dir_ / "hypervisor.pub");
    EXPECT_TRUE(refusal(domain(kUuid)).starts_with(":6: 'hypervisor_key': cannot open "));
}

TEST_F(PolicyFile, software_sgx_is_off_unless_allowed_with_a_software_root) {
    const std::string root =
        "software_sgx_root = " + config::toml_string(machine_.root_path().string()) + "\n";
    EXPECT_EQ(refusal(root), "");
    const auto settings = load_settings(dir_ / "authority.toml");
    EXPECT_FALSE(settings->policy.software_root) << "naming a root does not allow it";
    EXPECT_EQ(refusal(root + "allow_software_sgx = true\n"), "");
    EXPECT_TRUE(refusal("allow_software_sgx = true\n")
                    .starts_with(":4: allow_software_sgx = true "
                                 "needs 'software_sgx_root'"));
    dir_.write("not.pem", "no certificate");
    EXPECT_TRUE(refusal("allow_software_sgx = true\nsoftware_sgx_root = \"not.pem\"\n")
                    .starts_with(":5: 'software_sgx_root': "));
}

TEST_F(PolicyFile, a_misspelt_setting_is_refused) {
    EXPECT_EQ(refusal("allow_softwaresgx = false\n"), ":4: unknown key 'allow_softwaresgx'");
    EXPECT_EQ(refusal("lifetime_seconds = 0\n"),
              ":4: 'lifetime_seconds' must be between 30 and 86400");
}

}  // namespace
}  // namespace sgm::authority
