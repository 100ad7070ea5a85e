// SPDX-License-Identifier: MIT
#include "sgx/image/sigstruct.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include "config/temporary_directory.hpp"
#include "config/text.hpp"

namespace sgm::sgx {
namespace {

std::vector<std::uint8_t> contents_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

const SignerKey& signer() {
    static const SignerKey key = SignerKey::generate().value();
    return key;
}

Sigstruct sign(const wire::Digest& mrenclave = {1, 2, 3}, const SigningOptions& options = {}) {
    return sign_sigstruct(describe_enclave(mrenclave, options), signer()).value();
}

// MRSIGNER: SHA-256 of bytes 128 to 511 of the file, by sha256sum.
struct RealSigstruct {
    const char* name;
    const char* file;
    const char* mrsigner;
};

class RealSigstructTest : public testing::TestWithParam<RealSigstruct> {
  protected:
    void SetUp() override {
        const char* vectors = std::getenv("SGM_TEST_VECTORS");
        if (vectors == nullptr)
            GTEST_SKIP() << "SGM_TEST_VECTORS does not name the directory of test vectors";
        path_ = std::filesystem::path{vectors} / "sigstruct" / GetParam().file;
        if (!std::filesystem::exists(path_)) GTEST_SKIP() << path_ << " is not there";
        bytes_ = contents_of(path_);
    }
    std::filesystem::path path_;
    std::vector<std::uint8_t> bytes_;
};

TEST_P(RealSigstructTest, verifies_and_no_byte_of_it_can_change) {
    const auto sigstruct = verify_sigstruct(bytes_);
    ASSERT_TRUE(sigstruct.has_value()) << sigstruct.error();
    EXPECT_EQ(config::to_hex(mrsigner(*sigstruct)), GetParam().mrsigner);
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
        std::vector<std::uint8_t> changed = bytes_;
        changed[i] ^= 0x10;
        const auto result = verify_sigstruct(changed);
        ASSERT_FALSE(result.has_value()) << "byte " << i << " changed and nobody noticed";
        EXPECT_TRUE(result.error().starts_with("SIGSTRUCT.")) << result.error();
    }
}

INSTANTIATE_TEST_SUITE_P(
    Of, RealSigstructTest,
    testing::Values(
        RealSigstruct{"a_test_enclave", "test_enclave.sig",
                      "fb4bab3d6036ac1d730fa83d7366df1dd2dfeac194ef335d6854d8a6c6475542"},
        RealSigstruct{"the_launch_enclave_of_intel", "le_prod_css.bin",
                      "acb77012053e05a63d413b8bbae8fb6c5d73b3f2996d91c43bbbf90959c0f8d4"}),
    [](const testing::TestParamInfo<RealSigstruct>& file) { return file.param.name; });

TEST(SigstructTest, what_we_sign_verifies_and_no_byte_of_it_can_change) {
    const Sigstruct sigstruct = sign();
    const auto verified = verify_sigstruct(bytes_of(sigstruct));
    ASSERT_TRUE(verified.has_value()) << verified.error();
    EXPECT_EQ(verified->enclavehash, (wire::Digest{1, 2, 3}));
    for (std::size_t i = 0; i < sizeof sigstruct; ++i) {
        Sigstruct changed = sigstruct;
        mutable_bytes_of(changed)[i] ^= 0x80;
        EXPECT_FALSE(verify_sigstruct(bytes_of(changed)).has_value()) << "byte " << i;
    }
}

TEST(SigstructTest, the_error_names_the_field) {
    const auto error = [](auto change) {
        Sigstruct sigstruct = sign();
        change(sigstruct);
        const auto result = verify_sigstruct(bytes_of(sigstruct));
        return result ? "" : result.error();
    };
    EXPECT_TRUE(error([](auto& s) { s.header[0] = 0; }).starts_with("SIGSTRUCT.HEADER "));
    EXPECT_TRUE(error([](auto& s) { s.vendor = 7; }).starts_with("SIGSTRUCT.VENDOR "));
    EXPECT_TRUE(error([](auto& s) { s.header2[0] = 0; }).starts_with("SIGSTRUCT.HEADER2 "));
    EXPECT_TRUE(error([](auto& s) { s.exponent = 65537; }).starts_with("SIGSTRUCT.EXPONENT "));
    EXPECT_TRUE(error([](auto& s) { s.reserved_1028[3] = 1; }).starts_with("SIGSTRUCT.RESERVED "));
    EXPECT_TRUE(error([](auto& s) { s.modulus.fill(0); }).starts_with("SIGSTRUCT.MODULUS "));
    EXPECT_TRUE(error([](auto& s) { s.signature.fill(0xff); }).starts_with("SIGSTRUCT.SIGNATURE "));
    EXPECT_TRUE(error([](auto& s) { s.signature.fill(0); }).starts_with("SIGSTRUCT.SIGNATURE "));
    EXPECT_TRUE(error([](auto& s) { s.date ^= 1; }).starts_with("SIGSTRUCT.SIGNATURE "));
    EXPECT_TRUE(error([](auto& s) { s.isvsvn = 99; }).starts_with("SIGSTRUCT.SIGNATURE "));
    EXPECT_TRUE(error([](auto& s) { s.q1[0] ^= 1; }).starts_with("SIGSTRUCT.Q1 "));
    EXPECT_TRUE(error([](auto& s) { s.q2[383] ^= 1; }).starts_with("SIGSTRUCT.Q2 "));
}

TEST(SigstructTest, a_file_of_another_size_is_refused) {
    const Sigstruct sigstruct = sign();
    const Bytes bytes = bytes_of(sigstruct);
    EXPECT_FALSE(verify_sigstruct({}).has_value());
    EXPECT_FALSE(verify_sigstruct(bytes.first(1807)).has_value());
    std::vector<std::uint8_t> longer{bytes.begin(), bytes.end()};
    longer.push_back(0);
    EXPECT_FALSE(verify_sigstruct(longer).has_value());
}

TEST(SigstructTest, another_enclave_or_other_attributes_are_refused) {
    const wire::Digest enclave{1, 2, 3};
    const Sigstruct sigstruct = sign(enclave);
    const Attributes attributes = sigstruct.attributes;
    EXPECT_TRUE(check_enclave(sigstruct, enclave, attributes, 0).has_value());
    EXPECT_NE(check_enclave(sigstruct, {4}, attributes, 0).error().find("ENCLAVEHASH"),
              std::string::npos);
    Attributes debug = attributes;
    debug.flags |= kAttributeDebug;
    EXPECT_NE(check_enclave(sigstruct, enclave, debug, 0).error().find("ATTRIBUTES"),
              std::string::npos);
    Attributes more_state = attributes;
    more_state.xfrm |= std::uint64_t{1} << 17;  // AMX
    EXPECT_FALSE(check_enclave(sigstruct, enclave, more_state, 0).has_value());
    Attributes less_state = attributes;
    less_state.xfrm &= ~kXfrmAvx;
    EXPECT_FALSE(check_enclave(sigstruct, enclave, less_state, 0).has_value());
    EXPECT_NE(check_enclave(sigstruct, enclave, attributes, 1).error().find("MISCSELECT"),
              std::string::npos);
}

TEST(SigstructTest, the_state_of_avx_512_is_the_cpus_to_give_unless_the_signer_says_otherwise) {
    const Sigstruct open = sign();
    EXPECT_EQ(attributes_for(open, 0x2e7).xfrm, 0xe7u);
    EXPECT_EQ(attributes_for(open, 0x7).xfrm, 0x7u);
    EXPECT_EQ(attributes_for(open, 0x67).xfrm, 0x7u) << "a part of it";
    EXPECT_TRUE(check_enclave(open, open.enclavehash, attributes_for(open, 0xe7), 0).has_value());
    const Sigstruct without = describe_enclave({}, {.optional_xfrm = 0});
    EXPECT_EQ(attributes_for(without, 0xe7).xfrm, 0x7u);
    EXPECT_FALSE(
        check_enclave(without, {}, {.flags = kAttributeMode64, .xfrm = 0xe7}, 0).has_value());
    const Sigstruct demanded = describe_enclave({}, {.xfrm = 0xe7});
    EXPECT_EQ(attributes_for(demanded, 0x7).xfrm, 0xe7u) << "the CPU refuses it";
}

TEST(SigstructTest, the_signer_is_the_key_and_nothing_else) {
    const SignerKey other = SignerKey::generate().value();
    const Sigstruct theirs = sign_sigstruct(describe_enclave({1, 2, 3}, {}), other).value();
    EXPECT_EQ(mrsigner(sign({1})), mrsigner(sign({2})));
    EXPECT_NE(mrsigner(theirs), mrsigner(sign()));
}

TEST(SignerKeyTest, a_key_survives_its_file) {
    const config::TemporaryDirectory directory;
    ASSERT_TRUE(signer().save(directory / "signer.pem").has_value());
    const auto loaded = SignerKey::load(directory / "signer.pem");
    ASSERT_TRUE(loaded.has_value()) << loaded.error();
    EXPECT_EQ(mrsigner(sign_sigstruct(describe_enclave({}, {}), *loaded).value()),
              mrsigner(sign()));
    EXPECT_FALSE(signer().save(directory / "signer.pem").has_value()) << "it replaced a key";
}

TEST(SignerKeyTest, keys_that_others_may_read_and_keys_of_other_kinds_are_refused) {
    const config::TemporaryDirectory directory;
    const auto path = directory / "signer.pem";
    ASSERT_TRUE(signer().save(path).has_value());
    ::chmod(path.c_str(), 0640);
    EXPECT_NE(SignerKey::load(path).error().find("chmod 600"), std::string::npos);
    const auto text = directory.write("text.pem", "no key\n");
    ::chmod(text.c_str(), 0600);
    EXPECT_NE(SignerKey::load(text).error().find("not an RSA private key"), std::string::npos);
    EXPECT_FALSE(SignerKey::load(directory / "nowhere.pem").has_value());
}

}  // namespace
}  // namespace sgm::sgx
