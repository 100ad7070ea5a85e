// SPDX-License-Identifier: MIT
#include "authority/revocations.hpp"

#include <gtest/gtest.h>

#include "authority/testing.hpp"

namespace sgm::authority {
namespace {

using wire::Revocation;
using wire::RevokedKind;

constexpr std::chrono::sys_seconds kNow{std::chrono::seconds{1'000'000}};

Revocation mrenclave(std::uint8_t value) {
    return {.kind = RevokedKind::mrenclave,
            .reserved = 0,
            .hypervisor_key_id = {},
            .subject = filled<32>(value)};
}

class RevocationFile : public testing::Test {
  protected:
    [[nodiscard]] auto change(Change change, const Revocation& entry,
                              std::chrono::sys_seconds now = kNow) const {
        return change_revocations(path_, key_, change, entry, now);
    }
    [[nodiscard]] auto load() const { return load_revocations(path_, key_.public_key()); }

    const config::TemporaryDirectory directory_;
    const std::filesystem::path path_ = directory_ / "revocations.signed";
    const crypto::SigningKeyPair key_ = crypto::SigningKeyPair::from_seed(filled<32>(11));
};

TEST_F(RevocationFile, says_what_was_revoked_and_not_restored) {
    ASSERT_TRUE(load());
    EXPECT_FALSE(load()->has_value());
    ASSERT_TRUE(change(Change::revoke, mrenclave(1)));
    ASSERT_TRUE(change(Change::revoke, mrenclave(2)));
    ASSERT_TRUE(change(Change::revoke, mrenclave(3)));
    ASSERT_TRUE(change(Change::restore, mrenclave(1)));
    const auto list = load().value().value().list;
    ASSERT_EQ(list.count, 2u);
    EXPECT_EQ(list.entries[0].subject, filled<32>(2));
    EXPECT_EQ(list.entries[1].subject, filled<32>(3));
    EXPECT_TRUE(
        std::ranges::all_of(bytes_of(list.entries[2]), [](auto byte) { return byte == 0; }));
}

TEST_F(RevocationFile, grows_in_sequence_also_when_the_clock_goes_back_or_the_file_is_lost) {
    EXPECT_EQ(change(Change::revoke, mrenclave(1))->list.sequence, 1'000'000u);
    EXPECT_EQ(change(Change::revoke, mrenclave(2))->list.sequence, 1'000'001u);
    EXPECT_EQ(change(Change::revoke, mrenclave(3), {})->list.sequence, 1'000'002u);
    std::filesystem::remove(path_);
    EXPECT_EQ(change(Change::revoke, mrenclave(1), kNow + std::chrono::seconds{9})->list.sequence,
              1'000'009u);
}

TEST_F(RevocationFile, refuses_what_changes_nothing_and_what_does_not_fit) {
    EXPECT_FALSE(change(Change::restore, mrenclave(1)));
    ASSERT_TRUE(change(Change::revoke, mrenclave(0)));
    EXPECT_FALSE(change(Change::revoke, mrenclave(0)));
    for (std::uint8_t i = 1; i < wire::kMaxRevocations; ++i) {
        ASSERT_TRUE(change(Change::revoke, mrenclave(i)));
    }
    const auto full = change(Change::revoke, mrenclave(200));
    ASSERT_FALSE(full);
    EXPECT_NE(full.error().sentence.find("full"), std::string::npos);
    EXPECT_EQ(load().value().value().list.count, wire::kMaxRevocations);
}

TEST_F(RevocationFile, that_is_spoiled_or_anothers_is_an_error_and_not_an_empty_list) {
    ASSERT_TRUE(change(Change::revoke, mrenclave(1)));
    const std::string sound = config::read_file(path_).value();
    for (const std::size_t byte : {std::size_t{0}, std::size_t{40}, sound.size() - 1}) {
        std::string spoiled = sound;
        spoiled[byte] = static_cast<char>(spoiled[byte] ^ 1);
        directory_.write("revocations.signed", spoiled);
        EXPECT_FALSE(load()) << byte;
    }
    directory_.write("revocations.signed", sound.substr(1));
    EXPECT_FALSE(load());
    directory_.write("revocations.signed", sound);
    const auto stranger = crypto::SigningKeyPair::generate().value();
    EXPECT_FALSE(load_revocations(path_, stranger.public_key()));
    EXPECT_TRUE(load());
}

TEST(RevocationOptions, name_exactly_one_subject) {
    const std::string hex(64, 'a');
    const std::string uuid = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";
    EXPECT_FALSE(parse_revocation({}));
    EXPECT_FALSE(parse_revocation({.mrenclave = hex, .domain = uuid}));
    EXPECT_FALSE(parse_revocation({.mrenclave = "abc"}));
    EXPECT_FALSE(parse_revocation({.domain = hex}));
    EXPECT_EQ(parse_revocation({.mrenclave = hex})->kind, RevokedKind::mrenclave);
    EXPECT_EQ(parse_revocation({.domain = uuid})->kind, RevokedKind::domain);
    EXPECT_EQ(parse_revocation({.domain = uuid})->subject[1], 0x1c);
    EXPECT_EQ(parse_revocation({.registration = hex})->kind, RevokedKind::registration);
    const auto here = parse_revocation({.everything = true, .hypervisor = hex});
    EXPECT_EQ(here->kind, RevokedKind::everything);
    EXPECT_EQ(here->hypervisor_key_id, filled<32>(0xaa));
}

}  // namespace
}  // namespace sgm::authority
