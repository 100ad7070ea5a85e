// SPDX-License-Identifier: MIT
#include "guest/linux/kallsyms.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "guest/testing/kallsyms_builder.hpp"

namespace sgm::guest {
namespace {

using testing::Symbol;

constexpr std::uint64_t kBase = 0xffff'ffff'9a00'0000;
constexpr std::uint64_t kOffsetsAddress = kBase + 0x12'3458;
constexpr std::array kEncodings = {OffsetEncoding::absolute_percpu, OffsetEncoding::relative,
                                   OffsetEncoding::place_relative};

struct Made {
    std::vector<Symbol> symbols;
    KallsymsTables tables;
    Vmcoreinfo info;
};

Made make(std::uint64_t seed, OffsetEncoding encoding, bool long_names = true) {
    std::mt19937_64 random{seed};
    Made made;
    made.symbols = testing::generate_symbols(random, 1500, kBase + 16);
    made.info.stext = kBase;
    made.info.init_uts_ns = kBase + 0x54'3210;
    made.symbols.insert(made.symbols.begin(), {'T', "_stext", made.info.stext});
    made.symbols.push_back({'D', "init_uts_ns", made.info.init_uts_ns});
    if (encoding == OffsetEncoding::absolute_percpu)
        made.symbols.insert(made.symbols.begin(), {'A', "fixed_percpu_data", 0x8000});
    made.tables = testing::compress_names(random, made.symbols, long_names);
    testing::encode_offsets(made.tables, made.symbols, encoding, kBase, kOffsetsAddress);
    return made;
}

TEST(Kallsyms, every_symbol_has_its_address_in_every_encoding) {
    for (const OffsetEncoding encoding : kEncodings) {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            const Made made = make(seed, encoding, seed != 1);
            const auto kallsyms = Kallsyms::create(made.tables, made.info);
            ASSERT_TRUE(kallsyms) << text(kallsyms.error());
            EXPECT_EQ(kallsyms->encoding(), encoding);
            ASSERT_EQ(kallsyms->size(), made.symbols.size());
            for (std::size_t i = 0; i < made.symbols.size(); ++i)
                ASSERT_EQ(kallsyms->address(i), made.symbols[i].address) << made.symbols[i].name;
            std::vector<SymbolQuery> queries;
            for (std::size_t i = 0; i < 50; ++i)
                queries.push_back({made.symbols[i * 29].name});
            kallsyms->find(queries);
            for (std::size_t i = 0; i < queries.size(); ++i) {
                EXPECT_TRUE(queries[i].found) << queries[i].name;
                EXPECT_EQ(queries[i].address, made.symbols[i * 29].address);
            }
        }
    }
}

TEST(Kallsyms, a_missing_symbol_is_not_found_and_no_prefix_is_taken_for_it) {
    const Made made = make(9, OffsetEncoding::relative);
    const auto kallsyms = Kallsyms::create(made.tables, made.info);
    ASSERT_TRUE(kallsyms);
    std::array<SymbolQuery, 3> queries{SymbolQuery{"init_uts"}, SymbolQuery{"init_uts_ns2"},
                                       SymbolQuery{""}};
    kallsyms->find(queries);
    for (const SymbolQuery& query : queries)
        EXPECT_FALSE(query.found) << query.name;
}

TEST(Kallsyms, of_symbols_with_one_name_the_global_one_is_taken) {
    std::mt19937_64 random{4};
    Made made = make(4, OffsetEncoding::relative);
    made.symbols.insert(made.symbols.begin() + 1, {'d', "init_task", kBase + 1});
    made.symbols.push_back({'D', "init_task", kBase + 0x60'0000});
    made.symbols.push_back({'D', "init_task", kBase + 0x70'0000});
    made.symbols.push_back({'t', "only_local", kBase + 0x70'0001});
    made.symbols.push_back({'t', "only_local", kBase + 0x70'0002});
    made.tables = testing::compress_names(random, made.symbols, true);
    testing::encode_offsets(made.tables, made.symbols, OffsetEncoding::relative, kBase, 0);
    const auto kallsyms = Kallsyms::create(made.tables, made.info);
    ASSERT_TRUE(kallsyms);
    std::array<SymbolQuery, 2> queries{SymbolQuery{"init_task"}, SymbolQuery{"only_local"}};
    kallsyms->find(queries);
    EXPECT_EQ(queries[0].address, kBase + 0x60'0000);
    EXPECT_EQ(queries[1].address, kBase + 0x70'0001);
}

TEST(Kallsyms, addresses_that_no_encoding_explains_are_refused) {
    Made made = make(5, OffsetEncoding::relative);
    made.info.stext += 16;
    EXPECT_EQ(Kallsyms::create(made.tables, made.info).error(), KallsymsError::no_encoding);
    made.info.stext -= 16;
    made.info.init_uts_ns += 16;
    EXPECT_EQ(Kallsyms::create(made.tables, made.info).error(), KallsymsError::no_encoding);
}

TEST(Kallsyms, tables_beyond_their_bounds_are_refused) {
    Made made = make(6, OffsetEncoding::relative);
    KallsymsTables large = made.tables;
    large.offsets.resize(kMaxSymbols + 1);
    EXPECT_EQ(Kallsyms::create(large, made.info).error(), KallsymsError::bad_size);
    large = made.tables;
    large.token_table.push_back('x');  // the last token does not end
    EXPECT_EQ(Kallsyms::create(large, made.info).error(), KallsymsError::bad_names);
    large = made.tables;
    large.token_index[200] = static_cast<std::uint16_t>(large.token_table.size());
    EXPECT_EQ(Kallsyms::create(large, made.info).error(), KallsymsError::bad_names);
}

TEST(Kallsyms, a_name_longer_than_any_symbol_is_refused) {
    Made made = make(7, OffsetEncoding::relative);
    std::mt19937_64 random{7};
    made.symbols[3].name = std::string(kMaxSymbolName, 'a');
    made.tables = testing::compress_names(random, made.symbols, true);
    testing::encode_offsets(made.tables, made.symbols, OffsetEncoding::relative, kBase, 0);
    EXPECT_TRUE(Kallsyms::create(made.tables, made.info));
    made.symbols[3].name += 'a';
    made.tables = testing::compress_names(random, made.symbols, true);
    testing::encode_offsets(made.tables, made.symbols, OffsetEncoding::relative, kBase, 0);
    EXPECT_EQ(Kallsyms::create(made.tables, made.info).error(), KallsymsError::bad_names);
}

TEST(Kallsyms, truncated_and_mutated_tables_give_a_value_or_an_error) {
    const Made made = make(8, OffsetEncoding::absolute_percpu);
    std::mt19937_64 random{8};
    for (int i = 0; i < 400; ++i) {
        KallsymsTables tables = made.tables;
        switch (random() % 4) {
            case 0: tables.names.resize(random() % tables.names.size()); break;
            case 1:
                tables.names[random() % tables.names.size()] ^= static_cast<std::uint8_t>(random());
                break;
            case 2:
                tables.token_table[random() % tables.token_table.size()] =
                    static_cast<std::uint8_t>(random() % 3);
                break;
            case 3:
                tables.token_index[random() % 256] = static_cast<std::uint16_t>(random());
                break;
        }
        const auto kallsyms = Kallsyms::create(std::move(tables), made.info);
        if (!kallsyms) continue;
        std::array<SymbolQuery, 1> queries{SymbolQuery{"init_uts_ns"}};
        kallsyms->find(queries);
        EXPECT_EQ(queries[0].address, made.info.init_uts_ns);
    }
}

}  // namespace
}  // namespace sgm::guest
