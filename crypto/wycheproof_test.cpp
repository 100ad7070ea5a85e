// SPDX-License-Identifier: MIT
// Project Wycheproof's vectors (github.com/C2SP/wycheproof), read from
// $SGM_TEST_VECTORS/wycheproof. Every case of a file is either checked, or counted and printed as
// one whose sizes our interface cannot express.
#include <gtest/gtest.h>

#include <functional>
#include <iostream>

#include "crypto/aead.hpp"
#include "crypto/cmac.hpp"
#include "crypto/hash.hpp"
#include "crypto/keys.hpp"
#include "crypto/test_vectors.hpp"

namespace sgm::crypto {
namespace {

using nlohmann::json;
using test::array_from_hex;
using test::from_hex;
using test::Octets;

class Wycheproof : public testing::Test {
  protected:
    void SetUp() override {
        if (!test::vectors_directory()) {
            GTEST_SKIP() << "SGM_TEST_VECTORS is unset: the Wycheproof files were not checked";
        }
    }

    // check(group, case) is false for a case that has sizes which we do not support.
    static void for_each_case(const std::string& name,
                              const std::function<bool(const json&, const json&)>& check) {
        const json file = test::read_json(*test::vectors_directory() / "wycheproof" / name);
        int checked = 0;
        int unsupported = 0;
        for (const json& group : file.at("testGroups")) {
            for (const json& test_case : group.at("tests")) {
                SCOPED_TRACE(name + " tcId " + std::to_string(test_case.at("tcId").get<int>()) +
                             ": " + test_case.at("comment").get<std::string>());
                (check(group, test_case) ? checked : unsupported)++;
            }
        }
        EXPECT_EQ(checked + unsupported, file.at("numberOfTests").get<int>());
        EXPECT_GT(checked, 0);
        std::cout << name << ": " << checked << " cases checked, " << unsupported
                  << " of sizes that are not supported\n";
    }

    static Octets octets(const json& test_case, const char* field) {
        return from_hex(test_case.at(field).get<std::string>());
    }
    static bool valid(const json& test_case) { return test_case.at("result") == "valid"; }
};

bool all_zero(Bytes bytes) {
    return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

template <std::size_t N>
std::span<const std::uint8_t, N> fixed(const Octets& bytes) {
    return Bytes{bytes}.first<N>();
}

TEST_F(Wycheproof, aes_cmac) {
    for_each_case("aes_cmac_test.json", [](const json& group, const json& test_case) {
        if (group.at("keySize") != 128 || group.at("tagSize") != 128) return false;
        const Octets tag = octets(test_case, "tag");
        const Cmac128 mac =
            aes128_cmac(fixed<16>(octets(test_case, "key")), octets(test_case, "msg"));
        EXPECT_EQ(std::ranges::equal(mac, tag), valid(test_case));
        return true;
    });
}

TEST_F(Wycheproof, aes_gcm_on_both_back_ends) {
    for (const AesGcmBackend backend : {AesGcmBackend::ipsec_mb, AesGcmBackend::sodium}) {
        for_each_case("aes_gcm_test.json", [&](const json& group, const json& test_case) {
            if (group.at("keySize") != 256 || group.at("ivSize") != 96 ||
                group.at("tagSize") != 128) {
                return false;
            }
            const Octets key = octets(test_case, "key");
            const Octets nonce = octets(test_case, "iv");
            const Octets aad = octets(test_case, "aad");
            const Octets message = octets(test_case, "msg");
            const Octets ciphertext = octets(test_case, "ct");
            const Octets tag = octets(test_case, "tag");
            const Aes256Gcm cipher{fixed<32>(key), backend};

            Octets opened(ciphertext.size(), 0xee);
            const auto result =
                cipher.open(fixed<12>(nonce), aad, ciphertext, fixed<16>(tag), opened);
            EXPECT_EQ(result.has_value(), valid(test_case));
            Octets sealed(message.size());
            std::array<std::uint8_t, 16> sealed_tag;
            EXPECT_TRUE(cipher.seal(fixed<12>(nonce), aad, message, sealed, sealed_tag));
            if (valid(test_case)) {
                EXPECT_EQ(opened, message);
                EXPECT_EQ(sealed, ciphertext);
                EXPECT_TRUE(std::ranges::equal(sealed_tag, tag));
            } else {
                EXPECT_TRUE(all_zero(opened));
            }
            return true;
        });
    }
}

TEST_F(Wycheproof, chacha20_poly1305) {
    for_each_case("chacha20_poly1305_test.json", [](const json& group, const json& test_case) {
        if (group.at("keySize") != 256 || group.at("ivSize") != 96 || group.at("tagSize") != 128) {
            return false;
        }
        const Octets key = octets(test_case, "key");
        const Octets nonce = octets(test_case, "iv");
        const Octets aad = octets(test_case, "aad");
        const Octets message = octets(test_case, "msg");
        Octets ciphertext = octets(test_case, "ct");
        const Octets tag = octets(test_case, "tag");
        ciphertext.insert(ciphertext.end(), tag.begin(), tag.end());

        Octets opened(ciphertext.size() - tag.size(), 0xee);
        const auto result =
            chacha20_poly1305_open(fixed<32>(key), fixed<12>(nonce), aad, ciphertext, opened);
        EXPECT_EQ(result.has_value(), valid(test_case));
        if (valid(test_case)) {
            EXPECT_EQ(opened, message);
            Octets sealed(ciphertext.size());
            EXPECT_TRUE(
                chacha20_poly1305_seal(fixed<32>(key), fixed<12>(nonce), aad, message, sealed));
            EXPECT_EQ(sealed, ciphertext);
        } else {
            EXPECT_TRUE(all_zero(opened));
        }
        return true;
    });
}

TEST_F(Wycheproof, ed25519) {
    for_each_case("ed25519_test.json", [](const json& group, const json& test_case) {
        const Octets signature = octets(test_case, "sig");
        if (signature.size() != std::tuple_size_v<wire::Signature>) {
            EXPECT_FALSE(valid(test_case));
            return false;
        }
        const auto key = array_from_hex<32>(group.at("publicKey").at("pk").get<std::string>());
        const auto result = verify(key, array_from_hex<64>(test_case.at("sig").get<std::string>()),
                                   {octets(test_case, "msg")});
        EXPECT_EQ(result.has_value(), valid(test_case));
        return true;
    });
}

TEST_F(Wycheproof, x25519) {
    for_each_case("x25519_test.json", [](const json&, const json& test_case) {
        const Octets private_key = octets(test_case, "private");
        const Octets expected = octets(test_case, "shared");
        const auto shared =
            x25519(private_key, array_from_hex<32>(test_case.at("public").get<std::string>()));
        // "acceptable" here: twists and encodings that are not reduced, which RFC 7748 allows, and
        // low-order points, which we refuse.
        EXPECT_EQ(shared.has_value(), !all_zero(expected));
        if (shared) {
            EXPECT_TRUE(std::ranges::equal(shared->bytes(), expected));
        } else {
            EXPECT_EQ(shared.error(), Error::bad_point);
            EXPECT_FALSE(valid(test_case));
        }
        return true;
    });
}

TEST_F(Wycheproof, hmac_sha256) {
    for_each_case("hmac_sha256_test.json", [](const json&, const json& test_case) {
        const auto mac = hmac_sha256(octets(test_case, "key"), {octets(test_case, "msg")});
        // Some groups truncate the MAC.
        const Octets tag = octets(test_case, "tag");
        if (tag.size() > mac.size()) {
            ADD_FAILURE() << "a MAC longer than the hash";
            return true;
        }
        EXPECT_EQ(std::ranges::equal(Bytes{mac}.first(tag.size()), tag), valid(test_case));
        return true;
    });
}

TEST_F(Wycheproof, hkdf_sha256) {
    for_each_case("hkdf_sha256_test.json", [](const json&, const json& test_case) {
        Octets out(test_case.at("size").get<std::size_t>());
        const auto key = hkdf_extract(octets(test_case, "salt"), octets(test_case, "ikm"));
        const auto result = hkdf_expand(key, {octets(test_case, "info")}, out);
        EXPECT_EQ(result.has_value(), valid(test_case));
        if (valid(test_case)) {
            EXPECT_EQ(out, octets(test_case, "okm"));
        } else {
            EXPECT_EQ(result.error(), Error::bad_size);
        }
        return true;
    });
}

}  // namespace
}  // namespace sgm::crypto
