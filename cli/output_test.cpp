// SPDX-License-Identifier: MIT
#include "cli/output.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>

namespace sgm::cli {
namespace {

using namespace std::string_literals;

TEST(Printable, ordinary_text_stays_as_it_is) {
    EXPECT_EQ(printable("kworker/0:1-events"), "kworker/0:1-events");
    EXPECT_EQ(printable("a b é 漢 😀"), "a b é 漢 😀");
}

TEST(Printable, nothing_that_acts_on_a_terminal_gets_through) {
    EXPECT_EQ(printable("\x1b[2J"), "\\x1b[2J");
    EXPECT_EQ(printable("a\nb\rc\td\0e\x7f"s), "a\\x0ab\\x0dc\\x09d\\x00e\\x7f");
    EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // CSI as one C1 character
    EXPECT_EQ(printable("\x9b"), "\\x9b");                    // and as one byte
    EXPECT_EQ(printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
    EXPECT_EQ(printable("\xe2\x80\x8b"), "\\xe2\\x80\\x8b");  // zero width space
}

TEST(Printable, a_backslash_is_escaped_so_that_no_text_can_pose_as_another) {
    EXPECT_EQ(printable("\\x1b"), "\\x5cx1b");
    EXPECT_NE(printable("\\x1b"), printable("\x1b"));
}

TEST(Printable, invalid_utf8_is_shown_byte_by_byte) {
    EXPECT_EQ(printable("\xff"), "\\xff");
    EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
    EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    EXPECT_EQ(printable("\xe6\xbc"), "\\xe6\\xbc");  // cut short
    EXPECT_EQ(printable("\xe6z"), "\\xe6z");
}

TEST(Printable, random_bytes_give_distinct_text_that_json_accepts) {
    std::mt19937 random{1};
    std::set<std::string> inputs;
    std::set<std::string> outputs;
    for (int i = 0; i < 20000; ++i) {
        std::string bytes(random() % 8, '\0');
        for (char& byte : bytes)
            byte = static_cast<char>(random());
        const std::string text = printable(bytes);
        EXPECT_NO_THROW((void)nlohmann::json(text).dump());
        for (const char c : text)
            ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
        inputs.insert(bytes);
        outputs.insert(text);
    }
    EXPECT_EQ(inputs.size(), outputs.size());
}

Table sample() {
    Table table{{{"pid", "PID", Align::right}, {"comm", "COMM"}, {"start_ns", "START"}}};
    table.add({std::int64_t{1}, "systemd"s, {std::uint64_t{5'000'000'000}, "5.0 s"s}});
    table.add({std::int64_t{4194304}, "a\nb"s, {std::uint64_t{0}, "-"s}});
    return table;
}

TEST(Table, columns_line_up_for_people) {
    EXPECT_EQ(sample().render(Format::text),
              "    PID  COMM     START\n"
              "      1  systemd  5.0 s\n"
              "4194304  a\\x0ab   -\n");
}

TEST(Table, programs_get_plain_values_and_the_same_escaping) {
    const auto json = nlohmann::json::parse(sample().render(Format::json));
    ASSERT_EQ(json.size(), 2u);
    EXPECT_EQ(json[0]["start_ns"], 5'000'000'000u);
    EXPECT_EQ(json[1]["pid"], 4194304);
    EXPECT_EQ(json[1]["comm"], "a\\x0ab");
    EXPECT_EQ(Table{{}}.render(Format::json), "[]\n");
}

TEST(Record, shows_what_there_is_and_gives_programs_every_key) {
    Record record;
    record.add("state", "state", "alive"s);
    record.add("kernel", "kernel", Cell{});
    record.add("findings", "open findings", std::uint64_t{2});
    record.add("software", "software", true);
    EXPECT_EQ(record.render(Format::text),
              "state:         alive\n"
              "open findings: 2\n"
              "software:      yes\n");
    EXPECT_EQ(record.render(Format::json),
              "{\"state\":\"alive\",\"kernel\":null,\"findings\":2,\"software\":true}\n");
}

}  // namespace
}  // namespace sgm::cli
