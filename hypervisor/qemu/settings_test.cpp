// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/settings.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "config/key_file.hpp"
#include "config/temporary_directory.hpp"

namespace sgm::qemu {
namespace {

constexpr const char* kUuid = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";

class SettingsTest : public ::testing::Test {
  protected:
    SettingsTest() {
        EXPECT_TRUE(config::save_signing_key(directory / "authority.pub", wire::SigningKey{7}));
        options.dir = directory / "here";
        options.authority_key = directory / "authority.pub";
        options.domain = kUuid;
        options.ram = "/dev/shm/vm";
        options.qmp = "/run/qmp";
    }
    std::string refusal(const std::string& text) {
        const auto settings = load_settings(directory.write("test.toml", text));
        return settings ? std::string{} : settings.error().sentence;
    }
    static std::string with(const std::string& more) {
        return "key = \"k\"\nauthority_key = \"authority.pub\"\nsocket = \"s\"\n" + more;
    }
    static std::string domain(const std::string& uuid, const std::string& qmp) {
        return "[[domain]]\nuuid = \"" + uuid + "\"\nmemory = \"m\"\nqmp = \"" + qmp + "\"\n";
    }

    config::TemporaryDirectory directory;
    InitOptions options;
};

TEST_F(SettingsTest, what_init_writes_run_understands) {
    ASSERT_TRUE(init(options).has_value());
    const auto settings = load_settings(directory / "here/hypervisor.toml");
    ASSERT_TRUE(settings.has_value()) << settings.error().sentence;
    EXPECT_EQ(settings->authority, wire::SigningKey{7});
    EXPECT_EQ(settings->socket, directory / "here/hypervisor.sock");
    EXPECT_EQ(settings->socket_mode, 0600u);
    EXPECT_FALSE(settings->allow_software_sgx);
    ASSERT_EQ(settings->domains.size(), 1u);
    EXPECT_EQ(settings->domains[0].memory, "/dev/shm/vm");
    EXPECT_TRUE(config::load_sealing_key_pair(settings->key).has_value());
}

TEST_F(SettingsTest, init_overwrites_nothing_and_wants_a_whole_domain_or_none) {
    ASSERT_TRUE(init(options).has_value());
    EXPECT_FALSE(init(options).has_value());
    options.dir = directory / "there";
    options.qmp.clear();
    EXPECT_FALSE(init(options).has_value());
    options.qmp = "/run/qmp";
    options.domain = "not a uuid";
    EXPECT_FALSE(init(options).has_value());
    options.domain.clear();
    options.ram.clear();
    options.qmp.clear();
    ASSERT_TRUE(init(options).has_value());
    const auto none = load_settings(directory / "there/hypervisor.toml");
    ASSERT_TRUE(none.has_value()) << none.error().sentence;
    EXPECT_TRUE(none->domains.empty()) << "they may be attached later";
}

TEST_F(SettingsTest, wrong_values_are_refused_with_line_and_reason) {
    EXPECT_EQ(refusal(with(domain(kUuid, "q"))), "");
    EXPECT_EQ(refusal(with("socket_mode = \"0660\"\n" + domain(kUuid, "q"))), "");
    EXPECT_NE(refusal(with("socket_mode = \"0666\"\n" + domain(kUuid, "q"))).find(":4: "),
              std::string::npos);
    EXPECT_NE(refusal(with("colour = 1\n" + domain(kUuid, "q"))).find(":4: "), std::string::npos);
    EXPECT_NE(refusal(with(domain("1234", "q"))).find(":5: "), std::string::npos);
    EXPECT_NE(refusal(with(domain(kUuid, "q") + domain(kUuid, "p"))).find("second time"),
              std::string::npos);
    EXPECT_NE(
        refusal(with(domain(kUuid, "q") + domain("6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f11", "q")))
            .find("another domain's"),
        std::string::npos);
}

}  // namespace
}  // namespace sgm::qemu
