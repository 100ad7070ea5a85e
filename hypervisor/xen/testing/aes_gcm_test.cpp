// SPDX-License-Identifier: MIT
// Xen's AES-GCM against both libraries: every length around its groups of blocks, and long ones.
#include "hypervisor/xen/aes_gcm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "crypto/aead.hpp"

namespace sgm::xen {
namespace {

using Octets = std::vector<std::uint8_t>;

class XenAesGcm : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!cpu_has_aes_gcm()) GTEST_SKIP() << "this CPU has no AES-NI, PCLMULQDQ and SSSE3";
    }
    Octets some(std::size_t size) {
        Octets out(size);
        std::ranges::generate(out, [this] { return static_cast<std::uint8_t>(random_()); });
        return out;
    }
    void compare(std::size_t size, std::size_t aad_size) {
        const Octets key = some(32);
        const Octets nonce = some(12);
        const Octets aad = some(aad_size);
        const Octets plain = some(size);
        AesGcmSchedule schedule;
        aes_gcm_expand(key.data(), schedule);
        Octets sealed(size);
        std::array<std::uint8_t, 16> tag{};
        AesGcmMessage message{.nonce = nonce.data(),
                              .aad = aad.data(),
                              .aad_size = aad.size(),
                              .in = plain.data(),
                              .out = sealed.data(),
                              .size = size,
                              .tag = tag.data()};
        aes_gcm_encrypt(schedule, message);
        for (const auto backend :
             {crypto::AesGcmBackend::ipsec_mb, crypto::AesGcmBackend::sodium}) {
            const crypto::Aes256Gcm library{std::span{key}.first<32>(), backend};
            Octets expected(size);
            std::array<std::uint8_t, 16> expected_tag{};
            ASSERT_TRUE(
                library.seal(std::span{nonce}.first<12>(), aad, plain, expected, expected_tag));
            ASSERT_EQ(sealed, expected) << size << " bytes, " << aad_size << " of additional data";
            ASSERT_EQ(tag, expected_tag) << size << " bytes, " << aad_size << " of additional data";
        }
        // In place.
        std::array<std::uint8_t, 16> opened_tag{};
        message.in = message.out = sealed.data();
        message.tag = opened_tag.data();
        aes_gcm_decrypt(schedule, message);
        ASSERT_EQ(sealed, plain);
        ASSERT_EQ(opened_tag, tag);
    }

  private:
    std::mt19937_64 random_{2026};
};

TEST_F(XenAesGcm, seals_every_short_length_as_the_libraries_do) {
    for (std::size_t size = 0; size <= 200; ++size) {
        for (const std::size_t aad_size : {0u, 1u, 15u, 16u, 64u, 65u})
            compare(size, aad_size);
    }
}

TEST_F(XenAesGcm, takes_every_short_length_of_additional_data_as_the_libraries_do) {
    for (std::size_t aad_size = 0; aad_size <= 200; ++aad_size)
        compare(33, aad_size);
}

TEST_F(XenAesGcm, seals_long_messages_as_the_libraries_do) {
    for (const std::size_t size : {4095u, 4096u, 4097u, 65536u, 1048576u, 1048577u})
        compare(size, 64);
}

}  // namespace
}  // namespace sgm::xen
