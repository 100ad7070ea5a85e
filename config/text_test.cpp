// SPDX-License-Identifier: MIT
#include "config/text.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace sgm::config {
namespace {

TEST(Hex, every_byte_comes_back) {
    std::array<std::uint8_t, 256> bytes;
    std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
    std::array<std::uint8_t, 256> parsed{};
    ASSERT_TRUE(parse_hex(to_hex(bytes), parsed));
    EXPECT_EQ(parsed, bytes);
}

TEST(Hex, anything_but_the_right_number_of_digits_is_refused) {
    std::array<std::uint8_t, 2> out;
    EXPECT_TRUE(parse_hex("0aBf", out));
    for (const char* text : {"", "0", "0ab", "0abf0", "0abf00", "0abg", " 0ab", "0x0a", "-1ff"}) {
        EXPECT_FALSE(parse_hex(text, out)) << text;
    }
}

TEST(Uuid, the_text_form_comes_back) {
    const std::string text = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";
    const auto uuid = parse_uuid(text);
    ASSERT_TRUE(uuid);
    EXPECT_EQ((*uuid)[0], 0x6f);
    EXPECT_EQ((*uuid)[15], 0x10);
    EXPECT_EQ(uuid_text(*uuid), text);
    EXPECT_EQ(parse_uuid("6F1C0B4E-1D2A-4C55-9A37-0C8D5E2B7F10"), uuid);
}

TEST(Uuid, other_forms_are_refused) {
    for (const char* text :
         {"", "6f1c0b4e1d2a4c559a370c8d5e2b7f10", "{6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10}",
          "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f1", "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f100",
          "6f1c0b4e-1d2a-4c55-9a370-c8d5e2b7f10", "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7g10"}) {
        EXPECT_FALSE(parse_uuid(text)) << text;
    }
}

}  // namespace
}  // namespace sgm::config
