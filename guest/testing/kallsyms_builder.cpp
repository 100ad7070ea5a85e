// SPDX-License-Identifier: MIT
#include "guest/testing/kallsyms_builder.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace sgm::guest::testing {
namespace {

std::size_t pick(std::mt19937_64& random, std::size_t below) {
    return random() % below;
}

}  // namespace

std::vector<Symbol> generate_symbols(std::mt19937_64& random, std::size_t count,
                                     std::uint64_t start) {
    constexpr std::array<std::string_view, 24> kParts = {
        "sys",  "init",  "alloc", "free",   "dev",  "read", "write", "lock",
        "page", "task",  "net",   "tcp",    "ext4", "pci",  "irq",   "rcu",
        "work", "queue", "map",   "struct", "x64",  "do",   "is",    "get"};
    constexpr std::string_view kTypes = "TtDdBbRrWVA";
    std::vector<Symbol> symbols;
    for (std::size_t i = 0; i < count; ++i) {
        std::string name = pick(random, 3) == 0 ? "__" : "";
        const std::size_t parts = 1 + pick(random, pick(random, 50) == 0 ? 30 : 5);
        for (std::size_t part = 0; part < parts; ++part) {
            name += kParts[pick(random, kParts.size())];
            name += "_";
        }
        name += std::to_string(i);
        symbols.push_back({kTypes[pick(random, kTypes.size())], name, start});
        start += pick(random, 64);
    }
    return symbols;
}

KallsymsTables compress_names(std::mt19937_64& random, const std::vector<Symbol>& symbols,
                              bool long_names) {
    // Every byte that occurs stands for itself, and so do the digits; the rest stand for strings.
    std::array<std::string, 256> tokens;
    for (char c = '0'; c <= '9'; ++c)
        tokens[static_cast<std::uint8_t>(c)] = c;
    for (const Symbol& symbol : symbols)
        for (const char c : symbol.type + symbol.name)
            tokens[static_cast<std::uint8_t>(c)] = c;
    for (std::string& token : tokens) {
        if (!token.empty() || pick(random, 10) == 0) continue;  // some stay unused
        const std::string& name = symbols[pick(random, symbols.size())].name;
        const std::size_t size = std::min<std::size_t>(name.size(), 2 + pick(random, 5));
        token = name.substr(pick(random, name.size() - size + 1), size);
    }

    KallsymsTables tables;
    tables.long_names = long_names;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        tables.token_index[i] = static_cast<std::uint16_t>(tables.token_table.size());
        tables.token_table.insert(tables.token_table.end(), tokens[i].begin(), tokens[i].end());
        tables.token_table.push_back(0);
    }
    for (const Symbol& symbol : symbols) {
        const std::string whole = symbol.type + symbol.name;
        std::vector<std::uint8_t> compressed;
        for (std::size_t at = 0; at < whole.size();) {
            std::size_t best = static_cast<std::uint8_t>(whole[at]);
            for (std::size_t token = 0; token < tokens.size(); ++token)
                if (tokens[token].size() > tokens[best].size() &&
                    whole.compare(at, tokens[token].size(), tokens[token]) == 0)
                    best = token;
            compressed.push_back(static_cast<std::uint8_t>(best));
            at += tokens[best].size();
        }
        if (long_names && compressed.size() >= 0x80) {
            tables.names.push_back(static_cast<std::uint8_t>(0x80 | (compressed.size() & 0x7f)));
            tables.names.push_back(static_cast<std::uint8_t>(compressed.size() >> 7));
        } else {
            tables.names.push_back(static_cast<std::uint8_t>(compressed.size()));
        }
        tables.names.insert(tables.names.end(), compressed.begin(), compressed.end());
    }
    return tables;
}

void encode_offsets(KallsymsTables& tables, const std::vector<Symbol>& symbols,
                    OffsetEncoding encoding, std::uint64_t base, std::uint64_t offsets_address) {
    tables.offsets.clear();
    tables.offsets_address = offsets_address;
    tables.relative_base = encoding == OffsetEncoding::place_relative ? 0 : base;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        const std::uint64_t address = symbols[i].address;
        std::uint64_t offset = 0;
        switch (encoding) {
            case OffsetEncoding::absolute_percpu:
                offset = address < base ? address : base - 1 - address;
                break;
            case OffsetEncoding::relative: offset = address - base; break;
            case OffsetEncoding::place_relative:
                offset = address - (offsets_address + 4 * i);
                break;
        }
        tables.offsets.push_back(static_cast<std::int32_t>(offset));
    }
}

std::vector<std::uint32_t> markers(const KallsymsTables& tables, std::size_t count) {
    std::vector<std::uint32_t> markers;
    std::size_t at = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 256 == 0) markers.push_back(static_cast<std::uint32_t>(at));
        std::size_t size = tables.names[at++];
        if (tables.long_names && size >= 0x80)
            size = (size & 0x7f) | (std::size_t{tables.names[at++]} << 7);
        at += size;
    }
    return markers;
}

}  // namespace sgm::guest::testing
