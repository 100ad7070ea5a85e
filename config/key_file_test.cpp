// SPDX-License-Identifier: MIT
#include "config/key_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "config/temporary_directory.hpp"
#include "config/text.hpp"

namespace sgm::config {
namespace {

TEST(KeyFile, a_signing_pair_comes_back_and_signs_for_its_public_file) {
    const TemporaryDirectory dir;
    const auto made = create_signing_key_pair(dir / "owner");
    ASSERT_TRUE(made);
    const auto pair = load_signing_key_pair(dir / "owner.key");
    const auto key = load_signing_key(dir / "owner.pub");
    ASSERT_TRUE(pair && key);
    EXPECT_EQ(*key, made->public_key());
    const std::string message = "message";
    const Bytes bytes{reinterpret_cast<const std::uint8_t*>(message.data()), message.size()};
    EXPECT_TRUE(crypto::verify(*key, pair->sign({bytes}), {bytes}));
}

TEST(KeyFile, a_sealing_pair_comes_back) {
    const TemporaryDirectory dir;
    const auto made = create_sealing_key_pair(dir / "owner-sealing");
    ASSERT_TRUE(made);
    const auto pair = load_sealing_key_pair(dir / "owner-sealing.key");
    const auto key = load_sealing_key(dir / "owner-sealing.pub");
    ASSERT_TRUE(pair && key);
    EXPECT_EQ(*key, made->public_key());
    EXPECT_EQ(pair->public_key(), made->public_key());
}

TEST(KeyFile, private_files_are_for_their_owner_only) {
    const TemporaryDirectory dir;
    ASSERT_TRUE(create_signing_key_pair(dir / "k"));
    struct stat status{};
    ASSERT_EQ(::stat((dir / "k.key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    ASSERT_EQ(::chmod((dir / "k.key").c_str(), 0644), 0);
    const auto loaded = load_signing_key_pair(dir / "k.key");
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().sentence.find("others may read it"), std::string::npos);
}

TEST(KeyFile, keys_are_not_overwritten) {
    const TemporaryDirectory dir;
    const auto first = create_signing_key_pair(dir / "k");
    ASSERT_TRUE(first);
    EXPECT_FALSE(create_signing_key_pair(dir / "k"));
    EXPECT_EQ(load_signing_key(dir / "k.pub"), first->public_key());
    EXPECT_EQ(load_signing_key_pair(dir / "k.key")->public_key(), first->public_key());
}

TEST(KeyFile, a_key_of_another_kind_is_refused_by_name) {
    const TemporaryDirectory dir;
    ASSERT_TRUE(create_sealing_key_pair(dir / "k"));
    const auto loaded = load_signing_key(dir / "k.pub");
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().sentence,
              (dir / "k.pub").string() +
                  ":1: wrong key: this file holds 'sgmonitor x25519 public', expected 'sgmonitor "
                  "ed25519 public'");
    EXPECT_FALSE(load_sealing_key(dir / "k.key"));           // private where public is expected
    const auto pair = load_sealing_key_pair(dir / "k.pub");  // and public where private is
    ASSERT_FALSE(pair);
    EXPECT_NE(
        pair.error().sentence.find(":1: wrong key: this file holds 'sgmonitor x25519 public'"),
        std::string::npos);
}

TEST(KeyFile, other_text_is_refused_with_its_line) {
    const TemporaryDirectory dir;
    const std::string kind = "sgmonitor ed25519 public\n";
    const std::string key(64, 'a');
    const auto sentence = [&](const std::string& text) {
        const auto loaded = load_signing_key(dir.write("k", text));
        return loaded ? std::string{} : loaded.error().sentence.substr((dir / "k").string().size());
    };
    EXPECT_EQ(sentence(kind + key + "\n"), "");
    EXPECT_EQ(sentence(kind + key), "");
    EXPECT_EQ(sentence("").substr(0, 4), ":1: ");
    EXPECT_EQ(sentence("-----BEGIN PUBLIC KEY-----\n").substr(0, 4), ":1: ");
    EXPECT_EQ(sentence("sgmonitor ed25519 public").substr(0, 4), ":2: ");
    EXPECT_EQ(sentence(kind + key.substr(1)).substr(0, 4), ":2: ");
    EXPECT_EQ(sentence(kind + key + "a\n").substr(0, 4), ":2: ");
    EXPECT_EQ(sentence(kind + key + "\nmore\n").substr(0, 4), ":2: ");
    EXPECT_EQ(sentence(kind + std::string(64, 'g') + "\n").substr(0, 4), ":2: ");
}

}  // namespace
}  // namespace sgm::config
