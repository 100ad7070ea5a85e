// SPDX-License-Identifier: MIT
// The guest's symbol table, as it was read: names, tokens and offsets are the guest's.
#include "guest/linux/kallsyms.hpp"

#include "fuzz/target.hpp"
#include "guest/testing/kallsyms_builder.hpp"

namespace sgm::fuzz {
namespace {

constexpr std::uint64_t kBase = 0xffff'ffff'8100'0000;
constexpr std::size_t kMostOctets = 64 * 1024;

}  // namespace

void run(Bytes input) {
    Choices choices{input};
    guest::Vmcoreinfo info;
    info.stext = choices.take<std::uint64_t>();
    info.init_uts_ns = choices.take<std::uint64_t>();
    guest::KallsymsTables tables;
    tables.long_names = choices.byte() % 2 == 0;
    tables.offsets_address = choices.take<std::uint64_t>();
    tables.relative_base = choices.take<std::uint64_t>();
    for (auto& index : tables.token_index)
        index = choices.take<std::uint16_t>();
    const Bytes tokens = choices.bytes(choices.take<std::uint16_t>());
    tables.token_table.assign(tokens.begin(), tokens.end());
    tables.offsets.resize(choices.take<std::uint16_t>());
    for (auto& offset : tables.offsets)
        offset = choices.take<std::int32_t>();
    const Bytes names = choices.rest();
    tables.names.assign(names.begin(), names.end());

    const std::size_t count = tables.offsets.size();
    const auto kallsyms = guest::Kallsyms::create(std::move(tables), info);
    if (!kallsyms) return;
    check(kallsyms->size() == count, "there is one symbol for each offset");
    std::array<guest::SymbolQuery, 3> queries{
        {{.name = "_stext"}, {.name = "init_task"}, {.name = ""}}};
    kallsyms->find(queries);
    for (std::size_t i = 0; i < count; ++i)
        static_cast<void>(kallsyms->address(i));
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (const auto encoding :
         {guest::OffsetEncoding::absolute_percpu, guest::OffsetEncoding::relative,
          guest::OffsetEncoding::place_relative}) {
        std::mt19937_64 random{7};
        auto symbols =
            guest::testing::generate_symbols(random, guest::kMinSymbols + 8, kBase + 0x1000);
        symbols[0] = {'T', "_stext", kBase};
        symbols[1] = {'D', "init_uts_ns", symbols[1].address};
        auto tables = guest::testing::compress_names(random, symbols, true);
        guest::testing::encode_offsets(tables, symbols, encoding, kBase, kBase + 0x10'0000);
        Recorder record;
        record.put(symbols[0].address).put(symbols[1].address).put(std::uint8_t{0});
        record.put(tables.offsets_address).put(tables.relative_base).put(tables.token_index);
        record.put(static_cast<std::uint16_t>(tables.token_table.size()));
        record.put_bytes(tables.token_table);
        record.put(static_cast<std::uint16_t>(tables.offsets.size()));
        for (const std::int32_t offset : tables.offsets)
            record.put(offset);
        record.put_bytes(tables.names);
        check(record.octets().size() <= kMostOctets, "seeds are small");
        result.push_back(record.octets());
    }
    return result;
}

}  // namespace sgm::fuzz
