// SPDX-License-Identifier: MIT
#include "remote/settings.hpp"

#include <gtest/gtest.h>

#include "config/key_file.hpp"
#include "config/temporary_directory.hpp"
#include "config/text.hpp"
#include "remote/rules.hpp"

namespace sgm::remote {
namespace {

class RemoteSettings : public testing::Test {
  protected:
    RemoteSettings() { EXPECT_TRUE(config::create_signing_key_pair(dir_ / "authority")); }

    [[nodiscard]] InitOptions options() const {
        InitOptions options;
        options.dir = dir_ / "remote";
        options.domain = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";
        options.authority_key = dir_ / "authority.pub";
        return options;
    }

    const config::TemporaryDirectory dir_;
};

TEST_F(RemoteSettings, what_init_writes_is_read_back) {
    ASSERT_TRUE(init(options()));
    const auto settings = load_settings(dir_ / "remote/remote.toml");
    ASSERT_TRUE(settings) << settings.error().sentence;
    EXPECT_EQ(config::uuid_text(settings->domain), options().domain);
    EXPECT_EQ(settings->listen, "127.0.0.1");
    EXPECT_EQ(settings->port, 7401);
    EXPECT_EQ(settings->interval, std::chrono::seconds{1});
    EXPECT_EQ(settings->store, dir_ / "remote/remote.db");
    EXPECT_FALSE(settings->allow_software_sgx);
    EXPECT_FALSE(settings->require_protection);
    EXPECT_EQ(settings->authority_key, config::load_signing_key(dir_ / "authority.pub"));
    EXPECT_TRUE(config::load_signing_key_pair(settings->signing_key));
    EXPECT_TRUE(config::load_sealing_key_pair(settings->sealing_key));
    EXPECT_TRUE(load_rules(settings->rules));
}

TEST_F(RemoteSettings, an_owner_may_require_protection) {
    InitOptions strict = options();
    strict.require_protection = true;
    ASSERT_TRUE(init(strict));
    EXPECT_TRUE(load_settings(dir_ / "remote/remote.toml")->require_protection);
}

TEST_F(RemoteSettings, init_may_come_before_the_authority_has_its_key) {
    std::filesystem::remove(dir_ / "authority.pub");
    ASSERT_TRUE(init(options()));
    const auto settings = load_settings(dir_ / "remote/remote.toml");
    ASSERT_FALSE(settings);
    EXPECT_NE(settings.error().sentence.find("'authority_key': cannot open "), std::string::npos);
}

TEST_F(RemoteSettings, init_overwrites_nothing_and_refuses_what_run_would) {
    ASSERT_TRUE(init(options()));
    EXPECT_FALSE(init(options()));
    InitOptions bad = options();
    bad.dir = dir_ / "other";
    bad.domain = "6f1c0b4e";
    EXPECT_FALSE(init(bad));
    bad = options();
    bad.dir = dir_ / "other";
    bad.interval_ms = 1;
    EXPECT_FALSE(init(bad));
    EXPECT_FALSE(std::filesystem::exists(dir_ / "other"));
}

TEST_F(RemoteSettings, another_kind_of_key_or_a_misspelt_key_is_refused_with_its_line) {
    InitOptions wrong = options();
    wrong.authority_key = dir_ / "remote/owner-sealing.pub";
    ASSERT_TRUE(init(wrong));
    const auto settings = load_settings(dir_ / "remote/remote.toml");
    ASSERT_FALSE(settings);
    EXPECT_NE(settings.error().sentence.find("wrong key"), std::string::npos)
        << settings.error().sentence;
    const auto path = dir_.write("remote.toml", "\nintervall_ms = 1000\n");
    EXPECT_EQ(load_settings(path).error().sentence,
              path.string() + ":2: unknown key 'intervall_ms'");
}

}  // namespace
}  // namespace sgm::remote
