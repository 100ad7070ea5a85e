// SPDX-License-Identifier: MIT
#include "config/toml_file.hpp"

#include <gtest/gtest.h>

#include "config/key_file.hpp"
#include "config/temporary_directory.hpp"
#include "config/text.hpp"

namespace sgm::config {
namespace {

// Reads the text as a program would, and gives the refusal, or "".
template <typename Read>
std::string refusal(std::string_view text, Read read) {
    auto file = TomlFile::parse(text, "/etc/party.toml");
    if (!file) return file.error().sentence;
    Table root = file->root();
    read(root);
    const auto sound = file->finish();
    return sound ? std::string{} : sound.error().sentence;
}

std::string refusal_of_nothing_read(std::string_view text) {
    return refusal(text, [](Table&) {});
}

TEST(TomlFile, values_of_each_type_come_back) {
    const std::string_view text = R"(
name = "a"
on = true
port = 7401
file = "keys/k.pub"
absolute = "/keys/k.pub"
domain = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"
mrenclave = "00000000000000000000000000000000000000000000000000000000000000ff"
list = ["x", "y"]
[[each]]
name = "c"
[[each]]
name = "d"
)";
    EXPECT_EQ(refusal(text,
                      [](Table& root) {
                          EXPECT_EQ(root.string("name"), "a");
                          EXPECT_TRUE(root.boolean("on"));
                          EXPECT_EQ(root.integer<std::uint16_t>("port", 1, 65535), 7401);
                          EXPECT_EQ(root.path("file"), "/etc/keys/k.pub");
                          EXPECT_EQ(root.path("absolute"), "/keys/k.pub");
                          EXPECT_EQ(root.uuid("domain")[0], 0x6f);
                          EXPECT_EQ(root.digest("mrenclave")[31], 0xff);
                          EXPECT_EQ(root.strings("list"), (std::vector<std::string>{"x", "y"}));
                          auto each = root.tables("each");
                          ASSERT_EQ(each.size(), 2u);
                          EXPECT_EQ(each[0].string("name"), "c");
                          EXPECT_EQ(each[1].string("name"), "d");
                      }),
              "");
}

TEST(TomlFile, what_is_missing_takes_its_default_or_is_refused) {
    EXPECT_EQ(refusal("",
                      [](Table& root) {
                          EXPECT_EQ(root.string("name", "x"), "x");
                          EXPECT_TRUE(root.boolean("on", true));
                          EXPECT_EQ(root.integer<int>("n", 1, 9, 5), 5);
                          EXPECT_EQ(root.path("p", "f"), "/etc/f");
                          EXPECT_TRUE(root.strings("list").empty());
                          EXPECT_TRUE(root.tables("each").empty());
                      }),
              "");
    const std::string missing = "/etc/party.toml:1: 'k' is missing";
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.string("k"); }), missing);
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.boolean("k"); }), missing);
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.integer<int>("k", 1, 9); }), missing);
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.path("k"); }), missing);
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.uuid("k"); }), missing);
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.digest("k"); }), missing);
    EXPECT_EQ(refusal("", [](Table& root) { (void)root.signing_key("k"); }), missing);
}

TEST(TomlFile, a_missing_key_of_an_inner_table_is_told_at_that_table) {
    EXPECT_EQ(refusal("a = 1\n\n[[rule]]\n",
                      [](Table& root) {
                          (void)root.integer<int>("a", 0, 9);
                          (void)root.tables("rule").front().string("name");
                      }),
              "/etc/party.toml:3: 'name' is missing");
}

TEST(TomlFile, an_unknown_key_is_refused_with_its_line_at_any_depth) {
    EXPECT_EQ(refusal_of_nothing_read("\n\nnmae = 1\n"), "/etc/party.toml:3: unknown key 'nmae'");
    EXPECT_EQ(refusal_of_nothing_read("\n[extra]\na = 1\n"),
              "/etc/party.toml:2: unknown key 'extra'");
    EXPECT_EQ(refusal("[[rule]]\nname = \"x\"\n[[rule]]\nname = \"y\"\ncom = \"z\"\n",
                      [](Table& root) {
                          for (Table& rule : root.tables("rule"))
                              (void)rule.string("name");
                      }),
              "/etc/party.toml:5: unknown key 'com'");
}

TEST(TomlFile, a_misspelt_key_is_told_before_the_one_that_is_missing_for_it) {
    EXPECT_EQ(refusal("\nnmae = \"x\"\n", [](Table& root) { (void)root.string("name"); }),
              "/etc/party.toml:2: unknown key 'nmae'");
}

TEST(TomlFile, a_value_of_the_wrong_type_is_refused_with_its_line) {
    const auto at_2 = [](const char* reason) {
        return "/etc/party.toml:2: " + std::string{reason};
    };
    EXPECT_EQ(refusal("\nk = 1", [](Table& root) { (void)root.string("k"); }),
              at_2("'k' must be a string"));
    EXPECT_EQ(refusal("\nk = 1", [](Table& root) { (void)root.string("k", "x"); }),
              at_2("'k' must be a string"));
    EXPECT_EQ(refusal("\nk = \"\"", [](Table& root) { (void)root.string("k"); }),
              at_2("'k' must not be empty"));
    EXPECT_EQ(refusal("\nk = 1", [](Table& root) { (void)root.boolean("k", true); }),
              at_2("'k' must be true or false"));
    EXPECT_EQ(refusal("\nk = 1.0", [](Table& root) { (void)root.integer<int>("k", 0, 9); }),
              at_2("'k' must be a whole number"));
    EXPECT_EQ(refusal("\nk = [\"a\", 1]", [](Table& root) { (void)root.strings("k"); }),
              at_2("'k' must be a list of strings"));
    EXPECT_EQ(refusal("\nk = \"a\"", [](Table& root) { (void)root.strings("k"); }),
              at_2("'k' must be a list of strings"));
    EXPECT_EQ(refusal("\n[k]\n", [](Table& root) { (void)root.tables("k"); }),
              at_2("'k' must be tables: [[k]]"));
    EXPECT_EQ(refusal("\nk = \"0g\"", [](Table& root) { (void)root.digest("k"); }),
              at_2("'k' must be 64 hexadecimal digits"));
    EXPECT_EQ(refusal("\nk = \"0g\"", [](Table& root) { (void)root.uuid("k"); }),
              at_2("'k' must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"));
}

TEST(TomlFile, a_number_out_of_range_is_refused_at_both_ends) {
    const auto between = [](const char* text) {
        return refusal(text, [](Table& root) { (void)root.integer<int>("k", 1, 9, 5); });
    };
    EXPECT_EQ(between("k = 1"), "");
    EXPECT_EQ(between("k = 9"), "");
    EXPECT_EQ(between("k = 0"), "/etc/party.toml:1: 'k' must be between 1 and 9");
    EXPECT_EQ(between("k = 10"), "/etc/party.toml:1: 'k' must be between 1 and 9");
    EXPECT_EQ(between("k = -1"), "/etc/party.toml:1: 'k' must be between 1 and 9");
}

TEST(TomlFile, a_key_file_that_cannot_be_used_is_told_at_the_line_that_names_it) {
    const TemporaryDirectory dir;
    ASSERT_TRUE(create_sealing_key_pair(dir / "sealing"));
    const auto path = dir.write("p.toml", "\nkey = \"sealing.pub\"\n");
    const auto prefix = path.string() + ":2: 'key': ";
    auto file = TomlFile::open(path);
    ASSERT_TRUE(file);
    (void)file->root().sealing_key("key");
    EXPECT_TRUE(file->finish());

    file = TomlFile::open(path);
    (void)file->root().signing_key("key");
    ASSERT_FALSE(file->finish());
    EXPECT_TRUE(file->finish().error().sentence.starts_with(prefix));

    std::filesystem::remove(dir / "sealing.pub");
    file = TomlFile::open(path);
    (void)file->root().sealing_key("key");
    ASSERT_FALSE(file->finish());
    EXPECT_TRUE(file->finish().error().sentence.starts_with(prefix + "cannot open "));
}

TEST(TomlFile, any_text_written_as_a_toml_string_comes_back) {
    for (const std::string& text :
         {std::string{"plain"}, std::string{"a\"b\\c"}, std::string{"/a dir/é\n\t\x01\x7f#'"}}) {
        EXPECT_EQ(refusal("k = " + toml_string(text),
                          [&](Table& root) { EXPECT_EQ(root.string("k"), text); }),
                  "");
    }
}

TEST(TomlFile, text_that_is_not_toml_is_refused_with_its_line) {
    EXPECT_TRUE(refusal_of_nothing_read("a = 1\nb = \n").starts_with("/etc/party.toml:2: "));
    EXPECT_TRUE(refusal_of_nothing_read("a = 1\na = 2\n").starts_with("/etc/party.toml:2: "));
    EXPECT_FALSE(TomlFile::open("/nonexistent/party.toml"));
}

}  // namespace
}  // namespace sgm::config
