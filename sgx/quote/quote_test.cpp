// SPDX-License-Identifier: MIT
#include "sgx/quote/quote.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "config/file.hpp"
#include "config/temporary_directory.hpp"
#include "sgx/loader/soft/platform.hpp"
#include "sgx/loader/soft/quoting.hpp"
#include "sgx/quote/verify.hpp"

namespace sgm::sgx {
namespace {

using Octets = std::vector<std::uint8_t>;

const std::chrono::sys_seconds kNow =
    std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());

// Offsets of a quote's fields (see QuoteHeader and Quote).
constexpr std::size_t kSignatureSizeAt = 432;
constexpr std::size_t kAttestationKeyAt = 436 + 64;
constexpr std::size_t kQeReportAt = kAttestationKeyAt + 64;
constexpr std::size_t kAuthSizeAt = kQeReportAt + 384 + 64;

Octets read(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    EXPECT_TRUE(file) << "cannot read " << path;
    return {std::istreambuf_iterator<char>{file}, {}};
}

RootCertificate root_from(const Octets& pem) {
    auto root = RootCertificate::from_pem({reinterpret_cast<const char*>(pem.data()), pem.size()});
    if (!root) throw std::runtime_error(root.error());
    return std::move(*root);
}

// One software machine for all tests: its root, and a quote of an enclave on it.
struct Machine {
    Machine() {
        auto key = soft::load_or_create_fuse_key(directory / "fuse.key");
        auto quoting =
            soft::QuotingEnclave::load_or_create(directory.path(), directory / "fuse.key");
        if (!key || !quoting) throw std::runtime_error("no software quoting enclave");
        const soft::SoftPlatform platform{std::move(*key)};
        soft::Secs secs{};
        secs.mrenclave.fill(0xaa);
        const Report report =
            platform.create_report(secs, soft::QuotingEnclave::target_info(), ReportData{1, 2, 3});
        quote = quoting->quote(bytes_of(report)).value();
        root_pem = read(directory / "root.pem");
    }
    config::TemporaryDirectory directory;
    Octets quote;
    Octets root_pem;
};

const Machine& machine() {
    static const Machine made;
    return made;
}

std::expected<void, QuoteError> judge(Bytes bytes, const RootCertificate& root,
                                      std::chrono::sys_seconds when = kNow) {
    const auto quote = parse_quote(bytes);
    if (!quote) return std::unexpected(quote.error());
    return verify_quote(*quote, root, when);
}

testing::AssertionResult refused_for(const std::expected<void, QuoteError>& result,
                                     QuoteError error) {
    if (result) return testing::AssertionFailure() << "was accepted";
    if (result.error() == error) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "was refused because " << text(result.error());
}

// --- the parser

TEST(ParseQuote, every_truncation_is_refused) {
    const Octets& quote = machine().quote;
    ASSERT_TRUE(parse_quote(quote));
    for (std::size_t size = 0; size < quote.size(); ++size) {
        const auto parsed = parse_quote(Bytes{quote}.first(size));
        ASSERT_FALSE(parsed) << size;
        EXPECT_EQ(parsed.error(), QuoteError::truncated) << size;
    }
}

TEST(ParseQuote, bytes_after_the_end_are_refused) {
    Octets quote = machine().quote;
    quote.push_back(0);
    EXPECT_EQ(parse_quote(quote).error(), QuoteError::surplus_bytes);
    // The same inside the signature data: between the certificates and its end.
    quote[kSignatureSizeAt] = static_cast<std::uint8_t>(quote[kSignatureSizeAt] + 1);
    EXPECT_EQ(parse_quote(quote).error(), QuoteError::surplus_bytes);
}

TEST(ParseQuote, sizes_that_reach_beyond_the_end_are_refused) {
    for (const std::size_t at : {kSignatureSizeAt, kAuthSizeAt, kAuthSizeAt + 2 + 23 + 2}) {
        for (const std::uint8_t size : Octets{0x80, 0xff}) {
            Octets quote = machine().quote;
            quote[at + 1] = size;
            EXPECT_EQ(parse_quote(quote).error(), QuoteError::truncated) << at;
            if (at == kAuthSizeAt) continue;
            quote[at] = quote[at + 2] = quote[at + 3] = 0xff;
            EXPECT_EQ(parse_quote(quote).error(), QuoteError::truncated) << at;
        }
    }
}

TEST(ParseQuote, what_is_not_a_v3_ecdsa_quote_of_sgx_is_named) {
    const auto changed = [](std::size_t at, std::uint8_t value) {
        Octets quote = machine().quote;
        quote[at] = value;
        return parse_quote(quote).error();
    };
    EXPECT_EQ(changed(0, 4), QuoteError::version);
    EXPECT_EQ(changed(2, 3), QuoteError::key_type);
    EXPECT_EQ(changed(4, 0x81), QuoteError::not_sgx);
    EXPECT_EQ(changed(kAuthSizeAt + 2 + 23, 1), QuoteError::certification_type);
    EXPECT_EQ(parse_quote(Octets(wire::kMaxQuoteSize + 1)).error(), QuoteError::too_large);
}

TEST(ParseQuote, generated_and_mutated_bytes_give_a_quote_or_an_error) {
    std::mt19937_64 generator{3};
    const Octets& original = machine().quote;
    const RootCertificate root = root_from(machine().root_pem);
    int parsed = 0;
    for (int round = 0; round < 20000; ++round) {
        Octets bytes;
        if (round % 4 == 0) {
            bytes.resize(generator() % 2000);
            for (auto& byte : bytes)
                byte = static_cast<std::uint8_t>(generator());
            if (bytes.size() >= 8 && round % 8 == 0)
                std::copy_n(original.begin(), 8, bytes.begin());
        } else {
            bytes = original;
            for (auto changes = generator() % 8; changes > 0; --changes) {
                // Half of them in the few bytes that steer the parser.
                const std::size_t at = generator() % 2 == 0 ? kAuthSizeAt + generator() % 40
                                                            : generator() % bytes.size();
                bytes[at] = static_cast<std::uint8_t>(generator());
            }
            bytes.resize(bytes.size() - generator() % 3);
        }
        const auto quote = parse_quote(bytes);
        if (!quote) continue;
        ++parsed;
        // Whatever it is, it lies within the bytes.
        const auto within = [&bytes](Bytes part) {
            return part.empty() || (part.data() >= bytes.data() &&
                                    part.data() + part.size() <= bytes.data() + bytes.size());
        };
        ASSERT_TRUE(within(quote->signed_bytes) && within(quote->qe_report_bytes) &&
                    within(quote->qe_auth_data) && within(quote->certificates));
        if (bytes != original) {
            ASSERT_FALSE(verify_quote(*quote, root, kNow));
        }
    }
    EXPECT_GT(parsed, 0);
}

TEST(ParseCertificates, generated_and_mutated_bytes_give_certificates_or_an_error) {
    std::mt19937_64 generator{4};
    const Bytes original = parse_quote(machine().quote)->certificates;
    for (int round = 0; round < 3000; ++round) {
        Octets bytes(original.begin(), original.end());
        for (auto changes = 1 + generator() % 4; changes > 0; --changes) {
            const std::size_t at = generator() % bytes.size();
            switch (generator() % 3) {
                case 0: bytes[at] = static_cast<std::uint8_t>(generator()); break;
                case 1: bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at)); break;
                default:
                    bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                 static_cast<std::uint8_t>(generator() % 128));
            }
        }
        const auto certificates = parse_certificates(bytes);
        if (certificates) {
            ASSERT_LE(certificates->size(), 4u);
        }
    }
    EXPECT_FALSE(parse_certificates({}));
    EXPECT_FALSE(parse_certificates(Octets(100, '-')));
}

TEST(ParseCertificates, more_than_a_chain_needs_are_refused) {
    const Octets& pem = machine().root_pem;
    Octets many;
    for (int i = 0; i < 4; ++i)
        many.insert(many.end(), pem.begin(), pem.end());
    EXPECT_TRUE(parse_certificates(many));
    many.insert(many.end(), pem.begin(), pem.end());
    EXPECT_FALSE(parse_certificates(many));
}

// --- verification

TEST(VerifyQuote, a_software_quote_verifies_under_its_root_and_no_other) {
    EXPECT_TRUE(judge(machine().quote, root_from(machine().root_pem)));
    const Machine other;
    EXPECT_TRUE(refused_for(judge(machine().quote, root_from(other.root_pem)), QuoteError::root));
}

TEST(VerifyQuote, a_change_of_any_byte_is_refused) {
    const RootCertificate root = root_from(machine().root_pem);
    Octets quote = machine().quote;
    ASSERT_TRUE(judge(quote, root));
    // 0x20 turns a letter's case in the PEM, 0x01 touches the padding bits of base64.
    constexpr std::array<std::uint8_t, 3> kChanges = {0x01, 0x20, 0xff};
    for (std::size_t i = 0; i < quote.size(); ++i) {
        quote[i] ^= kChanges[i % kChanges.size()];
        EXPECT_FALSE(judge(quote, root)) << "byte " << i;
        quote[i] ^= kChanges[i % kChanges.size()];
    }
}

TEST(VerifyQuote, each_link_of_the_chain_of_signatures_is_checked_and_named) {
    const RootCertificate root = root_from(machine().root_pem);
    const auto changed = [&root](std::size_t at) {
        Octets quote = machine().quote;
        quote[at] ^= 1;
        return judge(quote, root);
    };
    EXPECT_TRUE(refused_for(changed(48 + 64), QuoteError::signature));  // MRENCLAVE
    EXPECT_TRUE(refused_for(changed(436), QuoteError::signature));
    EXPECT_TRUE(refused_for(changed(kAttestationKeyAt), QuoteError::qe_binding));
    EXPECT_TRUE(refused_for(changed(kQeReportAt), QuoteError::qe_signature));
    EXPECT_TRUE(refused_for(changed(kQeReportAt + 384), QuoteError::qe_signature));
    EXPECT_TRUE(refused_for(changed(kAuthSizeAt + 2), QuoteError::qe_binding));
}

TEST(VerifyQuote, a_chain_in_another_order_verifies_and_one_with_a_certificate_too_many_does_not) {
    const RootCertificate root = root_from(machine().root_pem);
    const Bytes chain = parse_quote(machine().quote)->certificates;
    const Bytes leaf = chain.first(chain.size() - machine().root_pem.size());
    const auto judge_chain = [&](std::initializer_list<Bytes> parts) {
        Octets pem;
        for (const Bytes part : parts)
            pem.insert(pem.end(), part.begin(), part.end());
        const auto key = pck_key(pem, root, kNow);
        return key ? std::expected<void, QuoteError>{} : std::unexpected(key.error());
    };
    const Machine other;
    EXPECT_TRUE(judge_chain({leaf, machine().root_pem}));
    EXPECT_TRUE(judge_chain({machine().root_pem, leaf}));
    EXPECT_TRUE(refused_for(judge_chain({leaf}), QuoteError::root));
    EXPECT_TRUE(refused_for(judge_chain({machine().root_pem}), QuoteError::pck_certificate));
    EXPECT_TRUE(
        refused_for(judge_chain({leaf, machine().root_pem, other.root_pem}), QuoteError::chain));
    EXPECT_TRUE(refused_for(judge_chain({leaf, machine().root_pem, machine().root_pem}),
                            QuoteError::chain));
    EXPECT_TRUE(refused_for(judge_chain({leaf, leaf, machine().root_pem}), QuoteError::chain));
    const Bytes other_chain = parse_quote(other.quote)->certificates;
    const Bytes other_leaf = other_chain.first(other_chain.size() - other.root_pem.size());
    EXPECT_TRUE(refused_for(judge_chain({other_leaf, machine().root_pem}), QuoteError::chain));
    const Octets newline = {'\n'};
    EXPECT_TRUE(
        refused_for(judge_chain({leaf, newline, machine().root_pem}), QuoteError::certificates));
}

TEST(VerifyQuote, certificates_outside_their_time_are_refused) {
    const RootCertificate root = root_from(machine().root_pem);
    EXPECT_TRUE(refused_for(judge(machine().quote, root, kNow - std::chrono::days{2}),
                            QuoteError::validity));
    EXPECT_TRUE(refused_for(judge(machine().quote, root, kNow + std::chrono::days{21 * 365}),
                            QuoteError::validity));
}

TEST(RootCertificate, what_is_not_one_self_signed_ca_is_refused) {
    const Bytes chain = parse_quote(machine().quote)->certificates;
    const std::string pem(chain.begin(), chain.end());
    const std::string leaf = pem.substr(0, pem.size() - machine().root_pem.size());
    EXPECT_FALSE(RootCertificate::from_pem(""));
    EXPECT_FALSE(RootCertificate::from_pem("nonsense"));
    EXPECT_FALSE(RootCertificate::from_pem(pem));
    EXPECT_FALSE(RootCertificate::from_pem(leaf));
}

// --- quotes of real machines

class RealQuotes : public testing::Test {
  protected:
    void SetUp() override {
        const char* vectors = std::getenv("SGM_TEST_VECTORS");
        if (vectors == nullptr || *vectors == '\0') {
            GTEST_SKIP() << "SGM_TEST_VECTORS is unset: no quotes of real machines were checked";
        }
        quotes_ = std::filesystem::path{vectors} / "quotes";
    }

    RootCertificate intel_root() const {
        return root_from(read(quotes_ / "mobilecoin/root_ca.pem"));
    }

    // The certificates of all of them are valid then.
    static constexpr std::chrono::sys_seconds kThen =
        std::chrono::sys_days{std::chrono::August / 20 / 2025};
    static constexpr std::array<const char*, 3> kFiles = {
        "automata/sample_quote_0.bin", "mobilecoin/hw_quote.dat", "oe/sgx_quote"};

    std::filesystem::path quotes_;
};

TEST_F(RealQuotes, their_signatures_lead_up_to_intels_root_and_not_to_a_software_one) {
    const RootCertificate intel = intel_root();
    const RootCertificate software = root_from(machine().root_pem);
    EXPECT_FALSE(intel.is_software());
    for (const char* file : kFiles) {
        SCOPED_TRACE(file);
        const Octets quote = read(quotes_ / file);
        const auto verified = judge(quote, intel, kThen);
        EXPECT_TRUE(verified) << text(verified.error());
        EXPECT_TRUE(refused_for(judge(quote, software, kThen), QuoteError::root));
    }
    EXPECT_TRUE(refused_for(judge(machine().quote, intel), QuoteError::root));
}

TEST_F(RealQuotes, a_changed_byte_or_a_truncation_is_refused) {
    const RootCertificate intel = intel_root();
    Octets quote = read(quotes_ / kFiles[0]);
    for (std::size_t i = 0; i < quote.size(); ++i)
        EXPECT_FALSE(parse_quote(Bytes{quote}.first(i)));
    // Every byte up to the certificates, and some of those, for the sake of time.
    const std::size_t certificates_at = quote.size() - parse_quote(quote)->certificates.size();
    for (std::size_t i = 0; i < quote.size(); i += i < certificates_at ? 1 : 7) {
        const auto change = static_cast<std::uint8_t>(1u << i % 8);
        quote[i] ^= change;
        EXPECT_FALSE(judge(quote, intel, kThen)) << "byte " << i;
        quote[i] ^= change;
    }
}

TEST_F(RealQuotes, before_and_after_their_certificates_time_they_are_refused) {
    const RootCertificate intel = intel_root();
    for (const char* file : kFiles) {
        SCOPED_TRACE(file);
        const Octets quote = read(quotes_ / file);
        for (const auto day : {std::chrono::January / 1 / 2018, std::chrono::January / 1 / 2034}) {
            EXPECT_TRUE(
                refused_for(judge(quote, intel, std::chrono::sys_days{day}), QuoteError::validity));
        }
    }
}

}  // namespace
}  // namespace sgm::sgx
