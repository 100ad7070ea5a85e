// SPDX-License-Identifier: MIT
#include "sgx/enclave/sealing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "config/text.hpp"
#include "sgx/enclave/testing/fake_seal_keys.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::enclave {
namespace {

using testing::FakeSealKeys;
using Octets = std::vector<std::uint8_t>;

Octets octets(std::string_view text) {
    return {text.begin(), text.end()};
}

class SealingTest : public ::testing::Test {
  protected:
    [[nodiscard]] Octets sealed(SealTo policy = SealTo::this_enclave) {
        return seal(cpu_, policy, label_, contents_).value();
    }
    // Why it does not open; nullopt: it opens.
    std::optional<SealError> refusal(const Octets& blob, SealTo policy = SealTo::this_enclave) {
        const auto opened = unseal(cpu_, policy, label_, blob);
        if (opened) return std::nullopt;
        return opened.error();
    }
    FakeSealKeys cpu_;
    Octets label_ = octets("rules of a test");
    Octets contents_ = octets("hello again");
};

TEST_F(SealingTest, what_was_sealed_opens_again_with_the_svn_of_its_sealer) {
    const auto opened = unseal(cpu_, SealTo::this_enclave, label_, sealed());
    ASSERT_TRUE(opened.has_value());
    EXPECT_EQ(opened->contents, contents_);
    EXPECT_EQ(opened->isv_svn, 3);
}

// Made with Python's `cryptography`, from the text of wire/sealed_blob.hpp.
TEST_F(SealingTest, a_blob_made_by_another_implementation_opens) {
    class OneKey final : public SealKeys {
      public:
        Versions versions() override { return {}; }
        std::expected<void, sgx::KeyError> get(SealTo policy, const Versions& asked,
                                               const std::array<std::uint8_t, 32>& keyid,
                                               std::span<std::uint8_t, 16> key) override {
            EXPECT_EQ(policy, SealTo::this_enclave);
            EXPECT_EQ(asked.isv_svn, 3);
            EXPECT_EQ(asked.cpusvn[0], 2);
            EXPECT_EQ(keyid[31], 0x5f);
            for (std::uint8_t i = 0; i < key.size(); ++i)
                key[i] = i;
            return {};
        }
    } cpu;
    std::array<std::uint8_t, 91> blob{};
    ASSERT_TRUE(
        config::parse_hex("53474d4201000100030000000b000000"
                          "02000000000000000000000000000000"
                          "404142434445464748494a4b4c4d4e4f"
                          "505152535455565758595a5b5c5d5e5f"
                          "69d8370fb79f7e8d84cbee8794e82264bf7298303709c9a3ba2395",
                          blob));
    const auto opened = unseal(cpu, SealTo::this_enclave, label_, blob);
    ASSERT_TRUE(opened.has_value()) << text(opened.error());
    EXPECT_EQ(opened->contents, contents_);
}

TEST_F(SealingTest, every_flipped_bit_and_every_other_length_is_refused) {
    const Octets blob = sealed();
    for (std::size_t bit = 0; bit < blob.size() * 8; ++bit) {
        Octets changed = blob;
        changed[bit / 8] = static_cast<std::uint8_t>(changed[bit / 8] ^ 1u << bit % 8);
        EXPECT_TRUE(refusal(changed).has_value()) << "bit " << bit;
    }
    for (std::size_t size = 0; size < blob.size(); ++size) {
        EXPECT_EQ(refusal(Octets(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size))),
                  SealError::malformed);
    }
    Octets longer = blob;
    longer.push_back(0);
    EXPECT_EQ(refusal(longer), SealError::malformed);
}

TEST_F(SealingTest, a_size_that_the_host_made_up_allocates_nothing) {
    Octets blob = sealed();
    wire::SealedBlobHeader header = *Reader{blob}.take<wire::SealedBlobHeader>();
    header.size = ~std::uint32_t{0};
    Writer{blob}.put(header);
    EXPECT_EQ(refusal(blob), SealError::malformed);
}

TEST_F(SealingTest, another_enclave_machine_or_label_does_not_open_it) {
    const Octets blob = sealed();
    cpu_.mrenclave = 2;
    EXPECT_EQ(refusal(blob), SealError::not_ours);
    cpu_.mrenclave = 1;
    cpu_.machine = 2;
    EXPECT_EQ(refusal(blob), SealError::not_ours);
    cpu_.machine = 1;
    label_.push_back('2');
    EXPECT_EQ(refusal(blob), SealError::not_ours);
}

TEST_F(SealingTest, the_signers_policy_opens_for_another_enclave_of_that_signer_only) {
    const Octets blob = sealed(SealTo::this_signer);
    cpu_.mrenclave = 2;
    EXPECT_EQ(refusal(blob, SealTo::this_signer), std::nullopt);
    EXPECT_EQ(refusal(blob, SealTo::this_enclave), SealError::other_policy);
    cpu_.mrsigner = 2;
    EXPECT_EQ(refusal(blob, SealTo::this_signer), SealError::not_ours);
}

TEST_F(SealingTest, a_newer_version_opens_what_an_older_one_sealed_and_not_the_reverse) {
    const Octets old = sealed();
    cpu_.current.isv_svn = 4;
    cpu_.current.cpusvn = {3};
    EXPECT_EQ(refusal(old), std::nullopt);
    const Octets blob = sealed();
    cpu_.current.isv_svn = 3;
    EXPECT_EQ(refusal(blob), SealError::newer);
    cpu_.current.isv_svn = 4;
    cpu_.current.cpusvn = {2};
    EXPECT_EQ(refusal(blob), SealError::newer);
}

TEST_F(SealingTest, equal_contents_never_give_equal_blobs) {
    const Octets first = sealed();
    const Octets second = sealed();
    const auto ciphertext = sizeof(wire::SealedBlobHeader);
    EXPECT_FALSE(std::equal(first.begin() + ciphertext, first.end(), second.begin() + ciphertext));
}

TEST_F(SealingTest, nothing_of_the_contents_is_in_the_blob) {
    const Octets blob = sealed();
    EXPECT_TRUE(std::ranges::search(blob, contents_).empty());
}

TEST_F(SealingTest, more_than_a_blob_may_hold_is_refused) {
    contents_.resize(wire::kMaxSealedSize + 1);
    EXPECT_EQ(seal(cpu_, SealTo::this_enclave, label_, contents_).error(), SealError::too_large);
    contents_.resize(wire::kMaxSealedSize);
    EXPECT_EQ(refusal(sealed()), std::nullopt);
}

}  // namespace
}  // namespace sgm::enclave
