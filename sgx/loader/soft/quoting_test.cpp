// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/quoting.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>

#include "config/file.hpp"
#include "config/temporary_directory.hpp"
#include "sgx/loader/soft/platform.hpp"
#include "sgx/quote/quote.hpp"
#include "sgx/quote/verify.hpp"

namespace sgm::sgx::soft {
namespace {

const std::chrono::sys_seconds kNow =
    std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());

class SoftQuoting : public testing::Test {
  protected:
    std::filesystem::path directory() const { return temporary_ / "platform"; }
    std::filesystem::path fuse_key() const { return temporary_ / "fuse.key"; }

    QuotingEnclave quoting() const {
        auto loaded = QuotingEnclave::load_or_create(directory(), fuse_key());
        EXPECT_TRUE(loaded) << loaded.error();
        return std::move(*loaded);
    }

    // A report by an enclave on the platform whose key is in `fuse_key`.
    static Report report_from(const std::filesystem::path& fuse_key, const TargetInfo& target) {
        auto key = load_or_create_fuse_key(fuse_key);
        EXPECT_TRUE(key);
        const SoftPlatform platform{std::move(*key)};
        Secs secs{};
        secs.attributes = {.flags = kAttributeInit | kAttributeMode64,
                           .xfrm = kXfrmLegacy | kXfrmAvx};
        secs.mrenclave.fill(0xaa);
        secs.mrsigner.fill(0xbb);
        secs.isvprodid = 7;
        secs.isvsvn = 3;
        ReportData data{};
        data.fill(0x42);
        return platform.create_report(secs, target, data);
    }

    static std::string slurp(const std::filesystem::path& path) {
        const auto content = config::read_file(path);
        EXPECT_TRUE(content) << path;
        return content.value_or("");
    }

    config::TemporaryDirectory temporary_;
};

TEST_F(SoftQuoting, a_quote_repeats_the_report_and_verifies_under_the_machines_root) {
    const QuotingEnclave enclave = quoting();
    const Report report = report_from(fuse_key(), QuotingEnclave::target_info());
    const auto bytes = enclave.quote(bytes_of(report));
    ASSERT_TRUE(bytes) << bytes.error();
    EXPECT_LE(bytes->size(), wire::kMaxQuoteSize);
    const auto quote = parse_quote(*bytes);
    ASSERT_TRUE(quote) << text(quote.error());
    EXPECT_TRUE(std::ranges::equal(bytes_of(quote->report), bytes_of(report.body)));
    const auto root = RootCertificate::from_pem(slurp(directory() / "root.pem"));
    ASSERT_TRUE(root) << root.error();
    const auto verified = verify_quote(*quote, *root, kNow);
    EXPECT_TRUE(verified) << text(verified.error());
}

TEST_F(SoftQuoting, the_identity_outlives_the_process_and_the_attestation_key_does_not) {
    const Report report = report_from(fuse_key(), QuotingEnclave::target_info());
    const auto first = quoting().quote(bytes_of(report));
    const std::string root_pem = slurp(directory() / "root.pem");
    const auto second = quoting().quote(bytes_of(report));
    ASSERT_TRUE(first && second);
    EXPECT_EQ(slurp(directory() / "root.pem"), root_pem);
    EXPECT_NE(parse_quote(*first)->attestation_key, parse_quote(*second)->attestation_key);
    const auto root = RootCertificate::from_pem(root_pem);
    ASSERT_TRUE(root);
    EXPECT_TRUE(verify_quote(*parse_quote(*first), *root, kNow));
    EXPECT_TRUE(verify_quote(*parse_quote(*second), *root, kNow));
}

TEST_F(SoftQuoting, a_report_of_another_machine_is_refused) {
    const QuotingEnclave enclave = quoting();
    const Report foreign =
        report_from(temporary_ / "another-fuse.key", QuotingEnclave::target_info());
    EXPECT_FALSE(enclave.quote(bytes_of(foreign)));
}

TEST_F(SoftQuoting, a_report_for_another_target_is_refused) {
    const QuotingEnclave enclave = quoting();
    TargetInfo other = QuotingEnclave::target_info();
    other.measurement[0] ^= 1;
    EXPECT_FALSE(enclave.quote(bytes_of(report_from(fuse_key(), other))));
    other = QuotingEnclave::target_info();
    other.attributes.flags |= kAttributeDebug;
    EXPECT_FALSE(enclave.quote(bytes_of(report_from(fuse_key(), other))));
}

TEST_F(SoftQuoting, a_report_with_any_byte_changed_is_refused) {
    const QuotingEnclave enclave = quoting();
    const Report report = report_from(fuse_key(), QuotingEnclave::target_info());
    std::vector<std::uint8_t> bytes(bytes_of(report).begin(), bytes_of(report).end());
    ASSERT_TRUE(enclave.quote(bytes));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] ^= 0x10;
        EXPECT_FALSE(enclave.quote(bytes)) << "byte " << i;
        bytes[i] ^= 0x10;
    }
}

TEST_F(SoftQuoting, bytes_that_are_no_report_are_refused) {
    const QuotingEnclave enclave = quoting();
    EXPECT_FALSE(enclave.quote({}));
    EXPECT_FALSE(enclave.quote(std::vector<std::uint8_t>(sizeof(Report) - 1)));
    EXPECT_FALSE(enclave.quote(std::vector<std::uint8_t>(sizeof(Report) + 1)));
    EXPECT_FALSE(enclave.quote(std::vector<std::uint8_t>(sizeof(Report))));
}

TEST_F(SoftQuoting, everything_that_shows_it_says_that_it_is_software) {
    const QuotingEnclave enclave = quoting();
    const auto bytes =
        enclave.quote(bytes_of(report_from(fuse_key(), QuotingEnclave::target_info())));
    ASSERT_TRUE(bytes);
    const auto root = RootCertificate::from_pem(slurp(directory() / "root.pem"));
    ASSERT_TRUE(root);
    EXPECT_TRUE(root->is_software());
    const Bytes auth_data = parse_quote(*bytes)->qe_auth_data;
    const std::string said(auth_data.begin(), auth_data.end());
    EXPECT_EQ(said, "SOFTWARE SGX, NOT INTEL");
}

TEST_F(SoftQuoting, the_key_is_readable_by_its_owner_only_and_refused_otherwise) {
    (void)quoting();
    const auto file = directory() / "quoting.pem";
    struct stat status{};
    ASSERT_EQ(::stat(file.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
    const auto loaded = QuotingEnclave::load(directory(), fuse_key());
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().find("quoting.pem"), std::string::npos) << loaded.error();
}

TEST_F(SoftQuoting, an_identity_is_made_once) {
    ASSERT_TRUE(QuotingEnclave::create(directory()));
    const std::string root_pem = slurp(directory() / "root.pem");
    EXPECT_FALSE(QuotingEnclave::create(directory()));
    EXPECT_EQ(slurp(directory() / "root.pem"), root_pem);
}

TEST_F(SoftQuoting, the_root_key_is_nowhere_on_the_disk) {
    ASSERT_TRUE(QuotingEnclave::create(directory()));
    std::size_t keys = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
        const std::string content = slurp(entry.path());
        for (auto at = content.find("PRIVATE KEY-----\n"); at != std::string::npos;
             at = content.find("PRIVATE KEY-----\n", at + 1)) {
            ++keys;
        }
    }
    EXPECT_EQ(keys, 2u);  // the BEGIN and the END line of the PCK key
}

TEST_F(SoftQuoting, files_that_are_missing_damaged_or_mixed_give_one_sentence) {
    const auto refused = [this](std::string_view about) {
        const auto loaded = QuotingEnclave::load(directory(), fuse_key());
        ASSERT_FALSE(loaded);
        EXPECT_NE(loaded.error().find(about), std::string::npos) << loaded.error();
        EXPECT_EQ(loaded.error().find('\n'), std::string::npos);
    };
    const auto write = [this](const char* name, std::string_view content) {
        ASSERT_TRUE(
            config::write_file(directory() / name, content, 0600, config::IfExists::replace));
    };
    refused("root.pem");
    ASSERT_TRUE(QuotingEnclave::create(directory()));
    const std::string root = slurp(directory() / "root.pem");
    const std::string quoting = slurp(directory() / "quoting.pem");

    write("quoting.pem", "nonsense");
    refused("quoting.pem is damaged");
    write("quoting.pem", quoting.substr(0, quoting.size() - 40));
    refused("malformed");
    write("quoting.pem", quoting);
    write("root.pem", "nonsense");
    refused("root.pem");

    ASSERT_TRUE(QuotingEnclave::create(temporary_ / "other"));
    write("root.pem", slurp(temporary_ / "other" / "root.pem"));
    refused("do not make a valid chain");
    write("root.pem", root);
    const std::string other = slurp(temporary_ / "other" / "quoting.pem");
    const auto certificate = [](const std::string& pem) {
        return pem.find("-----BEGIN CERTIFICATE-----");
    };
    write("quoting.pem",
          other.substr(0, certificate(other)) + quoting.substr(certificate(quoting)));
    refused("do not belong together");
    write("quoting.pem", quoting);
    EXPECT_TRUE(QuotingEnclave::load(directory(), fuse_key()));
}

}  // namespace
}  // namespace sgm::sgx::soft
