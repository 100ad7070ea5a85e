// SPDX-License-Identifier: MIT
#include "guest/linux/btf.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "guest/linux/layout.hpp"
#include "guest/testing/btf_builder.hpp"

namespace sgm::guest {
namespace {

using testing::BtfBuilder;

Btf parse(const BtfBuilder& builder) {
    auto btf = Btf::parse(builder.build());
    EXPECT_TRUE(btf);
    return std::move(*btf);
}

TEST(Btf, a_type_behind_any_number_of_all_kinds_is_found) {
    std::mt19937_64 random{1};
    for (int i = 0; i < 50; ++i) {
        BtfBuilder builder;
        const std::uint32_t base = builder.integer("int", 4);
        for (int filler = 0; filler < 200; ++filler) {
            const auto count = static_cast<std::uint32_t>(random() % 5);
            switch (1 + random() % 19) {
                case 1: builder.integer("u", 8); break;
                case 3: builder.array(base, 7); break;
                case 4: builder.structure("filler", 8, {{"a", base, 0}, {"b", base, 4}}); break;
                case 5: builder.structure("filler", 8, {{"a", base, 0}}, true); break;
                case 6: builder.raw(6, "e", count, 4, std::vector<std::uint32_t>(2 * count)); break;
                case 7: builder.raw(7, "fwd", 0, 0, {}, true); break;
                case 12: builder.raw(12, "func", count, base, {}); break;  // vlen is the linkage
                case 13:
                    builder.raw(13, {}, count, base, std::vector<std::uint32_t>(2 * count));
                    break;
                case 14: builder.raw(14, "var", 0, base, {1}); break;
                case 15:
                    builder.raw(15, ".data", count, 64, std::vector<std::uint32_t>(3 * count));
                    break;
                case 16: builder.raw(16, "double", 0, 8, {}); break;
                case 17: builder.raw(17, "tag", 0, base, {0xffff'ffff}); break;
                case 19:
                    builder.raw(19, "e64", count, 8, std::vector<std::uint32_t>(3 * count));
                    break;
                default: builder.qualifier(10, base); break;
            }
        }
        const std::uint32_t wanted = builder.structure("wanted", 24, {{"field", base, 20}});
        const Btf btf = parse(builder);
        const auto found = btf.find_struct("wanted");
        ASSERT_TRUE(found);
        EXPECT_EQ(*found, wanted);
        EXPECT_EQ(btf.member(*found, "field")->offset, 20u);
    }
}

TEST(Btf, members_are_found_by_path_through_anonymous_structs_and_qualifiers) {
    BtfBuilder builder;
    const std::uint32_t base = builder.integer("int", 4);
    const std::uint32_t inner = builder.structure({}, 12, {{"x", base, 0}, {"y", base, 8}});
    const std::uint32_t choice = builder.structure({}, 16, {{{}, inner, 4}, {"z", base, 0}}, true);
    const std::uint32_t named =
        builder.structure("named", 40, {{"first", base, 0}, {{}, choice, 16}});
    const std::uint32_t hidden =
        builder.qualifier(8, builder.qualifier(10, builder.qualifier(9, named)), "named_t");
    builder.structure("outer", 100, {{"pad", base, 0}, {"deep", hidden, 48}});
    const Btf btf = parse(builder);
    const std::uint32_t outer = *btf.find_struct("outer");
    EXPECT_EQ(btf.member(outer, "deep.first")->offset, 48u);
    EXPECT_EQ(btf.member(outer, "deep.y")->offset, 48u + 16 + 4 + 8);
    EXPECT_EQ(btf.member(outer, "deep.z")->offset, 48u + 16);
    EXPECT_EQ(btf.member(outer, "deep.w").error(), BtfError::not_found);
    EXPECT_EQ(btf.member(outer, "pad.x").error(), BtfError::bad_type);
    EXPECT_EQ(btf.member(outer, "").error(), BtfError::not_found);
    EXPECT_EQ(btf.find_struct("oute").error(), BtfError::not_found);
    EXPECT_EQ(btf.find_struct("").error(), BtfError::not_found);
}

TEST(Btf, sizes_of_arrays_pointers_and_qualified_types) {
    BtfBuilder builder;
    const std::uint32_t base = builder.integer("int", 4);
    const std::uint32_t matrix = builder.array(builder.array(base, 3), 5);
    const std::uint32_t pointer = builder.pointer(0);
    const std::uint32_t constant = builder.qualifier(10, matrix);
    const std::uint32_t huge =
        builder.array(builder.array(builder.array(base, 0xffff'ffff), 0xffff'ffff), 0xffff'ffff);
    const std::uint32_t function = builder.raw(12, "f", 0, base, {});
    const Btf btf = parse(builder);
    EXPECT_EQ(*btf.size_of(constant), 60u);
    EXPECT_EQ(*btf.size_of(pointer), 8u);
    EXPECT_EQ(btf.size_of(huge).error(), BtfError::too_large);
    EXPECT_EQ(btf.size_of(function).error(), BtfError::bad_type);
    EXPECT_EQ(btf.size_of(0).error(), BtfError::bad_type);
    EXPECT_EQ(btf.size_of(12345).error(), BtfError::bad_type);
}

TEST(Btf, a_bit_field_is_not_taken_for_a_member) {
    BtfBuilder builder;
    const std::uint32_t base = builder.integer("int", 4);
    builder.structure("bits", 8,
                      {{"plain", base, 4}, {"flag", base, 0, 1}, {"later", base, 0, 3, 5}});
    const Btf btf = parse(builder);
    const std::uint32_t bits = *btf.find_struct("bits");
    EXPECT_EQ(btf.member(bits, "plain")->offset, 4u);
    EXPECT_EQ(btf.member(bits, "flag").error(), BtfError::bit_field);
    EXPECT_EQ(btf.member(bits, "later").error(), BtfError::bit_field);
}

TEST(Btf, types_that_refer_to_themselves_end_in_an_error) {
    BtfBuilder builder;
    builder.qualifier(10, 2);                                 // 1: const of 2
    builder.qualifier(8, 1, "loop");                          // 2: typedef of 1
    builder.structure("self", 8, {{{}, 3, 0}, {"x", 1, 0}});  // 3: contains itself
    builder.array(4, 2);                                      // 4: array of itself
    const Btf btf = parse(builder);
    EXPECT_EQ(btf.strip(1).error(), BtfError::too_deep);
    EXPECT_EQ(btf.size_of(2).error(), BtfError::too_deep);
    EXPECT_EQ(btf.size_of(4).error(), BtfError::too_deep);
    EXPECT_EQ(btf.member(3, "x").error(), BtfError::too_deep);
}

TEST(Btf, anonymous_members_that_multiply_end_in_an_error) {
    BtfBuilder builder;
    std::uint32_t inner = builder.structure({}, 8, {{"leaf", 0, 0}});
    for (int level = 0; level < 6; ++level)
        inner = builder.structure({}, 8, std::vector<BtfBuilder::Member>(1000, {{}, inner, 0}));
    builder.structure("bomb", 8, {{{}, inner, 0}});
    const Btf btf = parse(builder);
    EXPECT_EQ(btf.member(*btf.find_struct("bomb"), "missing").error(), BtfError::too_large);
}

TEST(Btf, offsets_that_add_up_beyond_bounds_are_refused) {
    BtfBuilder builder;
    const std::uint32_t base = builder.integer("int", 4);
    std::uint32_t inner = builder.structure({}, 8, {{"leaf", base, 0x1fff'fff8}});
    for (int level = 0; level < 6; ++level)
        inner = builder.structure({}, 8, {{{}, inner, 0x1fff'fff8}});
    builder.structure("far", 8, {{{}, inner, 0}});
    const Btf btf = parse(builder);
    EXPECT_EQ(btf.member(*btf.find_struct("far"), "leaf").error(), BtfError::too_large);
}

TEST(Btf, a_kind_from_the_future_is_an_error) {
    BtfBuilder builder;
    builder.raw(20, "new", 0, 0, {});
    EXPECT_EQ(Btf::parse(builder.build()).error(), BtfError::unknown_kind);
}

TEST(Btf, headers_that_point_outside_are_refused) {
    BtfBuilder builder;
    builder.integer("int", 4);
    const std::vector<std::uint8_t> good = builder.build();
    for (std::size_t at : {0u, 2u, 4u, 11u, 15u, 19u, 23u}) {
        std::vector<std::uint8_t> bad = good;
        bad[at] ^= 0x7f;
        EXPECT_EQ(Btf::parse(bad).error(), BtfError::bad_header) << at;
    }
    for (std::size_t size = 0; size < good.size(); ++size)
        EXPECT_FALSE(Btf::parse({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}));
}

TEST(Btf, mutated_bytes_give_a_value_or_an_error) {
    BtfBuilder builder;
    const std::uint32_t base = builder.integer("int", 4);
    const std::uint32_t inner = builder.structure({}, 16, {{"pid", base, 0}, {"tgid", base, 4}});
    builder.structure("cred", 16, {{"uid", base, 8}});
    builder.structure("task_struct", 64, {{{}, inner, 8}, {"comm", builder.array(base, 4), 32}});
    const std::vector<std::uint8_t> good = builder.build();
    std::mt19937_64 random{2};
    for (int i = 0; i < 20'000; ++i) {
        std::vector<std::uint8_t> bytes = good;
        for (int change = 0; change < 2; ++change)
            bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
        const auto btf = Btf::parse(bytes);
        if (!btf) continue;
        static_cast<void>(derive_layout(*btf));
        for (std::uint32_t id = 0; id < 12; ++id) {
            static_cast<void>(btf->size_of(id));
            static_cast<void>(btf->member(id, "tgid"));
        }
    }
}

TEST(Layout, a_missing_member_is_named) {
    BtfBuilder builder;
    const std::uint32_t base = builder.integer("int", 4);
    builder.structure("task_struct", 64, {{"tasks", builder.array(base, 4), 0}, {"pid", base, 32}});
    const auto layout = derive_layout(parse(builder));
    ASSERT_FALSE(layout);
    EXPECT_EQ(describe(layout.error()), "its BTF lacks a type or member: task_struct.tgid");
}

TEST(Layout, a_member_of_the_wrong_size_or_outside_its_struct_is_refused) {
    for (const auto& [size, offset] : {std::pair{8u, 0u}, std::pair{4u, 62u}}) {
        BtfBuilder builder;
        const std::uint32_t base = builder.integer("int", 4);
        builder.structure("task_struct", 64,
                          {{"tasks", builder.array(base, 4), 0},
                           {"pid", builder.integer("other", size), offset}});
        const auto layout = derive_layout(parse(builder));
        ASSERT_FALSE(layout);
        EXPECT_EQ(layout.error().error, BtfError::bad_type);
        EXPECT_EQ(layout.error().what, "task_struct.pid");
    }
}

}  // namespace
}  // namespace sgm::guest
