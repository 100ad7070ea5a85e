// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <random>

#include "crypto/aead.hpp"
#include "crypto/cmac.hpp"
#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"
#include "crypto/keys.hpp"
#include "crypto/random.hpp"
#include "crypto/secret.hpp"
#include "crypto/test_vectors.hpp"

namespace sgm::crypto {
namespace {

using test::array_from_hex;
using test::from_hex;
using test::Octets;

constexpr std::array kBackends = {AesGcmBackend::ipsec_mb, AesGcmBackend::sodium};

Octets text_bytes(std::string_view words) {
    return {words.begin(), words.end()};
}

Octets random_octets(std::mt19937_64& generator, std::size_t size) {
    Octets bytes(size);
    for (auto& byte : bytes)
        byte = static_cast<std::uint8_t>(generator());
    return bytes;
}

template <std::size_t N>
std::array<std::uint8_t, N> random_array(std::mt19937_64& generator) {
    std::array<std::uint8_t, N> bytes;
    for (auto& byte : bytes)
        byte = static_cast<std::uint8_t>(generator());
    return bytes;
}

bool all_zero(Bytes bytes) {
    return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

// --- secrets

TEST(Secret, its_memory_is_zero_after_it_is_gone) {
    alignas(Secret<48>) std::array<std::uint8_t, sizeof(Secret<48>)> memory;
    auto* secret = new (memory.data()) Secret<48>;
    std::ranges::fill(secret->mutable_bytes(), std::uint8_t{0xa5});
    ASSERT_EQ(memory[47], 0xa5);
    secret->~Secret();
    EXPECT_TRUE(all_zero(memory));
}

TEST(Secret, moving_leaves_nothing_behind) {
    Secret<32> from;
    std::ranges::fill(from.mutable_bytes(), std::uint8_t{7});
    const Secret<32> to = std::move(from);
    EXPECT_TRUE(all_zero(from.bytes()));  // NOLINT(bugprone-use-after-move): the point of the test
    EXPECT_EQ(to.bytes()[31], 7);
}

TEST(Aes256Gcm, its_key_schedule_is_zero_after_it_is_gone) {
    for (const AesGcmBackend backend : kBackends) {
        alignas(Aes256Gcm) std::array<std::uint8_t, sizeof(Aes256Gcm)> memory{};
        const std::array<std::uint8_t, 32> key{1};
        auto* cipher = new (memory.data()) Aes256Gcm{key, backend};
        ASSERT_FALSE(all_zero(Bytes{memory}.first(kAesGcmScheduleSize)));
        cipher->~Aes256Gcm();
        EXPECT_TRUE(all_zero(Bytes{memory}.first(kAesGcmScheduleSize)));
    }
}

TEST(ConstantTimeEqual, equal_only_when_every_byte_is) {
    const Octets a = {1, 2, 3};
    EXPECT_TRUE(constant_time_equal(a, Octets{1, 2, 3}));
    EXPECT_FALSE(constant_time_equal(a, Octets{1, 2, 2}));
    EXPECT_FALSE(constant_time_equal(a, Octets{0x81, 2, 3}));
    EXPECT_FALSE(constant_time_equal(a, Octets{1, 2}));
    EXPECT_TRUE(constant_time_equal({}, {}));
}

TEST(RandomBytes, two_draws_differ_and_every_byte_is_filled) {
    std::array<std::uint8_t, 67> first{};
    std::array<std::uint8_t, 67> second{};
    Octets seen(67);
    for (int i = 0; i < 64; ++i) {
        ASSERT_TRUE(random_bytes(first));
        ASSERT_TRUE(random_bytes(second));
        EXPECT_NE(first, second);
        for (std::size_t j = 0; j < seen.size(); ++j)
            seen[j] |= first[j];
    }
    EXPECT_TRUE(std::ranges::none_of(seen, [](std::uint8_t byte) { return byte == 0; }));
    EXPECT_TRUE(random_bytes({}));
}

// --- AEAD

TEST(Aes256Gcm, what_one_back_end_seals_the_other_opens) {
    std::mt19937_64 generator{20240601};
    std::vector<std::size_t> sizes = {0,   1,   15,  16,   17,    127,  128,
                                      129, 255, 256, 4096, 65536, 70000};
    for (int i = 0; i < 60; ++i)
        sizes.push_back(generator() % 70001);
    for (const std::size_t size : sizes) {
        SCOPED_TRACE(size);
        const auto key = random_array<32>(generator);
        const auto nonce = random_array<12>(generator);
        const Octets aad = random_octets(generator, generator() % 300);
        const Octets plaintext = random_octets(generator, size);
        Octets sealed[2] = {Octets(size), Octets(size)};
        std::array<std::uint8_t, 16> tags[2];
        for (std::size_t i = 0; i < 2; ++i) {
            ASSERT_TRUE(
                (Aes256Gcm{key, kBackends[i]}.seal(nonce, aad, plaintext, sealed[i], tags[i])));
        }
        ASSERT_EQ(sealed[0], sealed[1]);
        ASSERT_EQ(tags[0], tags[1]);
        for (std::size_t i = 0; i < 2; ++i) {
            Octets in_place = sealed[i];
            ASSERT_TRUE(
                (Aes256Gcm{key, kBackends[1 - i]}.open(nonce, aad, in_place, tags[i], in_place)));
            ASSERT_EQ(in_place, plaintext);
        }
    }
}

TEST(Aes256Gcm, a_changed_bit_anywhere_is_refused_and_the_output_is_wiped) {
    std::mt19937_64 generator{7};
    const auto key = random_array<32>(generator);
    const auto nonce = random_array<12>(generator);
    const Octets aad = random_octets(generator, 20);
    const Octets plaintext = random_octets(generator, 100);
    for (const AesGcmBackend backend : kBackends) {
        const Aes256Gcm cipher{key, backend};
        Octets sealed(plaintext.size());
        std::array<std::uint8_t, 16> tag;
        ASSERT_TRUE(cipher.seal(nonce, aad, plaintext, sealed, tag));

        const auto refused = [&](auto bad_nonce, const Octets& bad_aad, const Octets& bad_sealed,
                                 auto bad_tag) {
            Octets out(plaintext.size(), 0xee);
            const auto opened = cipher.open(bad_nonce, bad_aad, bad_sealed, bad_tag, out);
            return !opened && opened.error() == Error::authentication && all_zero(out);
        };
        const auto flipped = [](auto bytes, std::size_t bit) {
            bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
            return bytes;
        };
        for (std::size_t bit = 0; bit < nonce.size() * 8; ++bit) {
            EXPECT_TRUE(refused(flipped(nonce, bit), aad, sealed, tag));
        }
        for (std::size_t bit = 0; bit < aad.size() * 8; ++bit) {
            EXPECT_TRUE(refused(nonce, flipped(aad, bit), sealed, tag));
        }
        for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
            EXPECT_TRUE(refused(nonce, aad, flipped(sealed, bit), tag));
        }
        for (std::size_t bit = 0; bit < tag.size() * 8; ++bit) {
            EXPECT_TRUE(refused(nonce, aad, sealed, flipped(tag, bit)));
        }
    }
}

TEST(Aes256Gcm, an_output_of_another_size_is_refused) {
    const std::array<std::uint8_t, 32> key{};
    const std::array<std::uint8_t, 12> nonce{};
    std::array<std::uint8_t, 16> tag{};
    for (const AesGcmBackend backend : kBackends) {
        const Aes256Gcm cipher{key, backend};
        Octets eight(8);
        Octets nine(9);
        EXPECT_EQ(cipher.seal(nonce, {}, eight, nine, tag).error(), Error::bad_size);
        EXPECT_EQ(cipher.open(nonce, {}, nine, tag, eight).error(), Error::bad_size);
    }
}

TEST(ChaCha20Poly1305, a_bad_tag_wipes_the_output) {
    const std::array<std::uint8_t, 32> key{3};
    const std::array<std::uint8_t, 12> nonce{4};
    const Octets plaintext(77, 0x55);
    Octets sealed(plaintext.size() + 16);
    ASSERT_TRUE(chacha20_poly1305_seal(key, nonce, {}, plaintext, sealed));
    sealed.back() ^= 1;
    Octets out(plaintext.size(), 0xee);
    EXPECT_EQ(chacha20_poly1305_open(key, nonce, {}, sealed, out).error(), Error::authentication);
    EXPECT_TRUE(all_zero(out));
}

TEST(ChaCha20Poly1305, sizes_that_do_not_fit_are_refused) {
    const std::array<std::uint8_t, 32> key{};
    const std::array<std::uint8_t, 12> nonce{};
    Octets ten(10);
    Octets twenty(20);
    EXPECT_EQ(chacha20_poly1305_seal(key, nonce, {}, ten, twenty).error(), Error::bad_size);
    EXPECT_EQ(chacha20_poly1305_open(key, nonce, {}, ten, {}).error(), Error::bad_size);
    EXPECT_EQ(chacha20_poly1305_open(key, nonce, {}, twenty, ten).error(), Error::bad_size);
}

// --- hash

TEST(Aes128Cmac, gives_what_rfc_4493_4_says) {
    const auto key = test::array_from_hex<16>("2b7e151628aed2a6abf7158809cf4f3c");
    const auto message = test::from_hex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
    const std::pair<std::size_t, const char*> vectors[] = {
        {0, "bb1d6929e95937287fa37d129b756746"},
        {16, "070a16b46b4d4144f79bdd9dd04a287c"},
        {40, "dfa66747de9ae63030ca32611497c827"},
        {64, "51f0bebf7e3b9d92fc49741779363cfe"}};
    for (const auto& [size, mac] : vectors) {
        EXPECT_EQ(aes128_cmac(key, Bytes{message}.first(size)), test::array_from_hex<16>(mac));
    }
}

TEST(Sha256, parts_are_hashed_one_after_the_other) {
    // FIPS 180-4, the one-block example.
    const auto abc =
        array_from_hex<32>("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256(text_bytes("abc")), abc);
    EXPECT_EQ(sha256({text_bytes("a"), {}, text_bytes("bc")}), abc);
}

TEST(Hkdf, more_than_255_blocks_are_refused) {
    Octets out(255 * 32 + 1);
    EXPECT_EQ(hkdf_expand(Octets(32), {}, out).error(), Error::bad_size);
    EXPECT_TRUE(hkdf_expand(Octets(32), {}, MutableBytes{out}.first(255 * 32)));
}

// --- keys

TEST(SigningKeyPair, signs_as_rfc_8032_7_1_test_2_says) {
    const auto pair = SigningKeyPair::from_seed(
        array_from_hex<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
    EXPECT_EQ(
        pair.public_key(),
        array_from_hex<32>("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
    EXPECT_EQ(
        pair.sign({from_hex("72")}),
        array_from_hex<64>("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                           "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"));
}

TEST(SigningKeyPair, a_signature_over_parts_is_one_over_the_whole) {
    const auto pair = SigningKeyPair::generate();
    ASSERT_TRUE(pair);
    const auto signature = pair->sign({text_bytes("heart"), {}, text_bytes("beat")});
    EXPECT_EQ(signature, pair->sign({text_bytes("heartbeat")}));
    EXPECT_TRUE(verify(pair->public_key(), signature, {text_bytes("h"), text_bytes("eartbeat")}));
    EXPECT_EQ(verify(pair->public_key(), signature, {text_bytes("heartbeaT")}).error(),
              Error::authentication);
    EXPECT_FALSE(
        verify(SigningKeyPair::generate()->public_key(), signature, {text_bytes("heartbeat")}));
}

TEST(SigningKeyPair, the_seed_makes_the_same_pair_again) {
    const auto pair = SigningKeyPair::generate();
    ASSERT_TRUE(pair);
    const auto again = SigningKeyPair::from_seed(pair->seed().first<32>());
    EXPECT_EQ(again.public_key(), pair->public_key());
    EXPECT_EQ(again.sign({}), pair->sign({}));
}

TEST(X25519, both_sides_agree_as_in_rfc_7748_6_1) {
    const auto alice = SealingKeyPair::from_private(
        array_from_hex<32>("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    const auto bob = SealingKeyPair::from_private(
        array_from_hex<32>("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    EXPECT_EQ(
        alice.public_key(),
        array_from_hex<32>("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    const auto shared_a = x25519(alice.private_key(), bob.public_key());
    const auto shared_b = x25519(bob.private_key(), alice.public_key());
    ASSERT_TRUE(shared_a && shared_b);
    const Octets expected =
        from_hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    EXPECT_TRUE(std::ranges::equal(shared_a->bytes(), expected));
    EXPECT_TRUE(std::ranges::equal(shared_b->bytes(), expected));
}

TEST(X25519, low_order_points_are_refused) {
    const auto pair = SealingKeyPair::generate();
    ASSERT_TRUE(pair);
    // The points of order 1, 2, 4 and 8, and their encodings that are not reduced.
    constexpr std::array<std::string_view, 7> kLowOrder = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (const std::string_view hex : kLowOrder) {
        SCOPED_TRACE(hex);
        const auto point = array_from_hex<32>(hex);
        const auto shared = x25519(pair->private_key(), point);
        ASSERT_FALSE(shared);
        EXPECT_EQ(shared.error(), Error::bad_point);
        Octets sealed(17);
        EXPECT_EQ(hpke_seal(point, {}, {}, Octets(1), sealed).error(), Error::bad_point);
        Octets opened(1);
        EXPECT_EQ(hpke_open(*pair, point, {}, {}, sealed, opened).error(), Error::bad_point);
    }
}

TEST(X25519, a_private_key_of_another_size_is_refused) {
    EXPECT_EQ(x25519(Octets(31), {9}).error(), Error::bad_size);
    EXPECT_EQ(x25519(Octets(33), {9}).error(), Error::bad_size);
}

// --- HPKE

// RFC 9180, appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
struct Rfc9180 {
    Octets info = from_hex("4f6465206f6e2061204772656369616e2055726e");
    SealingKeyPair ephemeral = SealingKeyPair::from_private(
        array_from_hex<32>("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600"));
    SealingKeyPair receiver = SealingKeyPair::from_private(
        array_from_hex<32>("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"));
    wire::Encapsulation enc =
        array_from_hex<32>("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    Octets plaintext = from_hex("4265617574792069732074727574682c20747275746820626561757479");
    Octets aad = from_hex("436f756e742d30");
    Octets ciphertext = from_hex(
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db"
        "21993c62ce81883d2dd1b51a28");
};

TEST(Hpke, seals_as_rfc_9180_a_2_says) {
    const Rfc9180 rfc;
    EXPECT_EQ(
        rfc.receiver.public_key(),
        array_from_hex<32>("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"));
    Octets ciphertext(rfc.ciphertext.size());
    const auto enc = hpke_seal(rfc.receiver.public_key(), rfc.ephemeral, rfc.info, rfc.aad,
                               rfc.plaintext, ciphertext);
    ASSERT_TRUE(enc);
    EXPECT_EQ(*enc, rfc.enc);
    EXPECT_EQ(ciphertext, rfc.ciphertext);
}

TEST(Hpke, opens_what_rfc_9180_a_2_sealed) {
    const Rfc9180 rfc;
    Octets plaintext(rfc.plaintext.size());
    ASSERT_TRUE(hpke_open(rfc.receiver, rfc.enc, rfc.info, rfc.aad, rfc.ciphertext, plaintext));
    EXPECT_EQ(plaintext, rfc.plaintext);
}

TEST(Hpke, another_info_aad_encapsulation_or_receiver_is_refused) {
    const Rfc9180 rfc;
    Octets out(rfc.plaintext.size());
    const auto other = SealingKeyPair::generate();
    ASSERT_TRUE(other);
    Octets info = rfc.info;
    info[0] ^= 1;
    Octets aad = rfc.aad;
    aad[0] ^= 1;
    for (const auto& result : {
             hpke_open(rfc.receiver, rfc.enc, info, rfc.aad, rfc.ciphertext, out),
             hpke_open(rfc.receiver, rfc.enc, rfc.info, aad, rfc.ciphertext, out),
             hpke_open(rfc.receiver, other->public_key(), rfc.info, rfc.aad, rfc.ciphertext, out),
             hpke_open(*other, rfc.enc, rfc.info, rfc.aad, rfc.ciphertext, out),
         }) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error(), Error::authentication);
    }
    EXPECT_TRUE(all_zero(out));
}

TEST(Hpke, every_seal_has_a_fresh_encapsulation) {
    const auto receiver = SealingKeyPair::generate();
    ASSERT_TRUE(receiver);
    const Octets plaintext = text_bytes("a session secret");
    Octets first(plaintext.size() + kHpkeOverhead);
    Octets second(plaintext.size() + kHpkeOverhead);
    const auto enc1 = hpke_seal(receiver->public_key(), {}, {}, plaintext, first);
    const auto enc2 = hpke_seal(receiver->public_key(), {}, {}, plaintext, second);
    ASSERT_TRUE(enc1 && enc2);
    EXPECT_NE(*enc1, *enc2);
    EXPECT_NE(first, second);
    Octets opened(plaintext.size());
    EXPECT_TRUE(hpke_open(*receiver, *enc1, {}, {}, first, opened));
    EXPECT_EQ(opened, plaintext);
}

TEST(Hpke, sizes_that_do_not_fit_are_refused) {
    const Rfc9180 rfc;
    Octets out(rfc.plaintext.size() + 1);
    EXPECT_EQ(hpke_open(rfc.receiver, rfc.enc, {}, {}, rfc.ciphertext, out).error(),
              Error::bad_size);
    EXPECT_EQ(hpke_open(rfc.receiver, rfc.enc, {}, {}, Octets(15), {}).error(), Error::bad_size);
    EXPECT_EQ(hpke_seal(rfc.receiver.public_key(), {}, {}, rfc.plaintext, out).error(),
              Error::bad_size);
}

}  // namespace
}  // namespace sgm::crypto
