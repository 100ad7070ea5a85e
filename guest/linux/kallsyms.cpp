// SPDX-License-Identifier: MIT
#include "guest/linux/kallsyms.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sgm::guest {
namespace {

constexpr std::size_t kTokens = 256;
constexpr std::size_t kMarkerStep = 256;  // one marker for each 256 names

std::uint64_t align_down8(std::uint64_t value) {
    return value & ~std::uint64_t{7};
}

std::uint64_t symbol_address(const KallsymsTables& tables, OffsetEncoding encoding,
                             std::size_t index) {
    const std::int32_t offset = tables.offsets[index];
    const auto wide = static_cast<std::uint64_t>(std::int64_t{offset});  // sign extended
    switch (encoding) {
        case OffsetEncoding::absolute_percpu:
            return offset >= 0 ? wide : tables.relative_base - 1 - wide;
        case OffsetEncoding::relative:
            return tables.relative_base + static_cast<std::uint32_t>(offset);
        case OffsetEncoding::place_relative: return tables.offsets_address + 4 * index + wide;
    }
    return 0;
}

// Goes through the compressed names; the guest controls every byte.
class NameCursor final {
  public:
    NameCursor(Bytes names, bool long_names) : names_{names}, long_names_{long_names} {}

    // The token numbers of the next name; nullopt when the bytes end before it does.
    std::optional<Bytes> next() {
        std::size_t at = at_;
        if (at >= names_.size()) return std::nullopt;
        std::size_t length = names_[at++];
        if (long_names_ && (length & 0x80) != 0) {
            if (at >= names_.size()) return std::nullopt;
            length = (length & 0x7f) | (std::size_t{names_[at++]} << 7);
        }
        if (length > names_.size() - at) return std::nullopt;
        at_ = at + length;
        return names_.subspan(at, length);
    }

    [[nodiscard]] std::size_t position() const { return at_; }

  private:
    Bytes names_;
    std::size_t at_ = 0;
    bool long_names_;
};

// Decodes names. Every token_index entry must have been checked to lie in a token_table whose
// last byte is 0.
class NameDecoder final {
  public:
    explicit NameDecoder(const KallsymsTables& tables) {
        for (std::size_t i = 0; i < kTokens; ++i) {
            const char* begin =
                reinterpret_cast<const char*>(tables.token_table.data()) + tables.token_index[i];
            tokens_[i] = {begin, std::strlen(begin)};
            sizes_[i] = static_cast<std::uint16_t>(tokens_[i].size());  // kMaxTokenTableSize fits
        }
    }

    // How long the decoded name is, type letter included. A tenth of the work of decoding, and
    // enough to tell most names from the few that are looked for.
    [[nodiscard]] std::size_t size_of(Bytes compressed) const {
        std::size_t size = 0;
        for (const std::uint8_t number : compressed)
            size += sizes_[number];
        return size;
    }

    // Type letter and name, valid until the next call; empty when it is longer than any symbol.
    std::string_view decode(Bytes compressed) {
        std::size_t size = 0;
        for (const std::uint8_t number : compressed) {
            const std::string_view token = tokens_[number];
            if (token.size() > buffer_.size() - size) return {};
            std::copy(token.begin(), token.end(), buffer_.data() + size);
            size += token.size();
        }
        return {buffer_.data(), size};
    }

  private:
    std::array<std::string_view, kTokens> tokens_;
    std::array<std::uint16_t, kTokens> sizes_;
    std::array<char, 1 + kMaxSymbolName> buffer_;
};

bool tokens_are_sound(const KallsymsTables& tables) {
    if (tables.token_table.empty() || tables.token_table.back() != 0) return false;
    return std::ranges::all_of(
        tables.token_index, [&](std::uint16_t begin) { return begin < tables.token_table.size(); });
}

// How many bytes `count` names take, reading on through `names` piece by piece.
std::expected<std::vector<std::uint8_t>, KallsymsError> read_names(Memory& memory,
                                                                   AddressSpace space,
                                                                   std::uint64_t address,
                                                                   std::uint32_t count,
                                                                   std::size_t limit) {
    std::vector<std::uint8_t> names;
    names.reserve(limit);
    std::size_t checked = 0;  // bytes of `names` that whole names fill
    while (count != 0) {
        const std::size_t step = std::min<std::size_t>(1u << 20, limit - names.size());
        if (step == 0) return std::unexpected{KallsymsError::bad_names};
        const std::size_t before = names.size();
        names.resize(before + step);
        if (!memory.read(space, address + before, MutableBytes{names}.subspan(before)))
            return std::unexpected{KallsymsError::memory};
        NameCursor cursor{Bytes{names}.subspan(checked), true};
        while (count != 0 && cursor.next())
            --count;
        checked += cursor.position();
    }
    names.resize(checked);
    return names;
}

std::expected<std::vector<std::int32_t>, KallsymsError> read_offsets(Memory& memory,
                                                                     AddressSpace space,
                                                                     std::uint64_t address,
                                                                     std::uint32_t count) {
    std::vector<std::int32_t> offsets(count);
    const MutableBytes bytes{reinterpret_cast<std::uint8_t*>(offsets.data()), 4 * offsets.size()};
    if (!memory.read(space, address, bytes)) return std::unexpected{KallsymsError::memory};
    return offsets;
}

// From 6.0 on: VMCOREINFO names the tables.
std::expected<KallsymsTables, KallsymsError> read_named_tables(Memory& memory, AddressSpace space,
                                                               const KallsymsAddresses& at) {
    const auto count = memory.read_value<std::uint32_t>(space, at.num_syms);
    if (!count) return std::unexpected{KallsymsError::memory};
    if (*count < kMinSymbols || *count > kMaxSymbols || at.token_index <= at.token_table ||
        at.token_index - at.token_table > kMaxTokenTableSize)
        return std::unexpected{KallsymsError::bad_size};

    KallsymsTables tables;
    tables.offsets_address = at.offsets;
    tables.token_table.resize(static_cast<std::size_t>(at.token_index - at.token_table));
    std::array<ReadItem, 3> items{
        ReadItem{.space = space, .address = at.token_table, .out = tables.token_table},
        ReadItem{.space = space,
                 .address = at.token_index,
                 .out = {reinterpret_cast<std::uint8_t*>(tables.token_index.data()),
                         sizeof tables.token_index}},
        ReadItem{.space = space,
                 .address = at.relative_base.value_or(0),
                 .out = mutable_bytes_of(tables.relative_base)
                            .first(at.relative_base ? sizeof tables.relative_base : 0)}};
    if (!memory.read_each(items)) return std::unexpected{KallsymsError::memory};
    for (const ReadItem& item : items)
        if (item.got != item.out.size()) return std::unexpected{KallsymsError::memory};

    // In every layout so far the token table lies behind the names, so reading to it cannot run
    // into memory that is not mapped.
    std::size_t limit = kMaxNamesSize;
    if (at.token_table > at.names)
        limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, at.token_table - at.names));
    auto names = read_names(memory, space, at.names, *count, limit);
    if (!names) return std::unexpected{names.error()};
    tables.names = std::move(*names);
    auto offsets = read_offsets(memory, space, at.offsets, *count);
    if (!offsets) return std::unexpected{offsets.error()};
    tables.offsets = std::move(*offsets);
    return tables;
}

// Before 6.0 nobody says where the tables are. They lie in rodata, each aligned to 8 (5.10
// scripts/kallsyms.c, write_src): offsets, relative_base, num_syms, names, markers, token_table,
// token_index. Tokens '0' to '9' are always themselves, which makes a pattern; the rest follows.
constexpr std::string_view kDigitTokens{
    "0\0"
    "1\0"
    "2\0"
    "3\0"
    "4\0"
    "5\0"
    "6\0"
    "7\0"
    "8\0"
    "9\0",
    20};
constexpr std::size_t kTokensBeforeDigits = '0';
constexpr std::uint64_t kMaxImageSize = 128u << 20;
constexpr std::size_t kMaxPatternMatches = 64;
// What a guest that fakes tables may cost: so many blocks of names are read, and so many names
// decoded in all of them. An honest kernel has the pattern once, and its table is tried at one
// place in earnest; elsewhere it fails at the first marker.
constexpr std::uint32_t kMaxBlocks = 4;
constexpr std::uint32_t kMaxNamesTried = 4 * kMaxSymbols;
struct SearchEffort {
    std::uint32_t blocks_left = kMaxBlocks;
    std::uint32_t names_left = kMaxNamesTried;
};
// Markers of kMaxSymbols names, and the tokens before '0'.
constexpr std::size_t kBeforeDigits = 4 * (kMaxSymbols / kMarkerStep + 1) + kMaxTokenTableSize;
constexpr std::size_t kAfterDigits = kMaxTokenTableSize + 8 + 2 * kTokens;

std::uint32_t u32_at(Bytes bytes, std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

// Tries to take the token '0' at `digits` for one of the token table.
std::expected<KallsymsTables, KallsymsError> read_tables_around(Memory& memory, AddressSpace space,
                                                                std::uint64_t digits,
                                                                SearchEffort& effort) {
    const auto not_here = std::unexpected{KallsymsError::not_found};
    // A window of which every position is aligned as it is in memory.
    const std::uint64_t window_address = align_down8(digits - kBeforeDigits);
    std::vector<std::uint8_t> window(kBeforeDigits + 8 + kAfterDigits);
    if (!memory.read(space, window_address, window)) return not_here;
    const auto digits_at = static_cast<std::size_t>(digits - window_address);

    // Back over the tokens before '0'; each ends with the byte before the next.
    std::size_t table_at = digits_at;
    for (std::size_t i = 0; i < kTokensBeforeDigits; ++i) {
        if (table_at < 2 || window[table_at - 1] != 0) return not_here;
        --table_at;
        while (table_at > 0 && window[table_at - 1] != 0)
            --table_at;
    }
    // The table is aligned; before it the markers' last byte may be anything.
    table_at = static_cast<std::size_t>(align8(table_at));
    if (table_at > digits_at) return not_here;

    KallsymsTables tables;
    tables.long_names = false;
    std::size_t end = table_at;
    for (std::size_t i = 0; i < kTokens; ++i) {
        while (end < window.size() && window[end] != 0)
            ++end;
        if (++end > window.size()) return not_here;
    }
    tables.token_table.assign(window.begin() + static_cast<std::ptrdiff_t>(table_at),
                              window.begin() + static_cast<std::ptrdiff_t>(end));
    const auto index_at = static_cast<std::size_t>(align8(end));
    if (index_at + sizeof tables.token_index > window.size()) return not_here;
    std::memcpy(tables.token_index.data(), window.data() + index_at, sizeof tables.token_index);
    if (tables.token_index[0] != 0 || tables.token_index[1] == 0 ||
        tables.token_index['0'] != digits_at - table_at || !tokens_are_sound(tables))
        return not_here;

    // Back over the markers: ascending, from 0. They may be padded with one zero.
    std::size_t markers_end = table_at;
    if (markers_end < 8) return not_here;
    if (u32_at(window, markers_end - 4) == 0) markers_end -= 4;
    const std::uint32_t last_marker = u32_at(window, markers_end - 4);
    std::size_t markers_at = markers_end - 4;
    while (u32_at(window, markers_at) != 0) {
        if (markers_at < 4 || u32_at(window, markers_at - 4) >= u32_at(window, markers_at))
            return not_here;
        markers_at -= 4;
    }
    const std::size_t marker_count = (markers_end - markers_at) / 4;
    if (last_marker > kMaxNamesSize || marker_count * kMarkerStep < kMinSymbols) return not_here;

    // The names end before the markers; of those behind the last marker there are 1 to 256, each
    // at most 128 bytes. Their number stands 8 bytes before the first.
    if (effort.blocks_left == 0) return not_here;
    --effort.blocks_left;
    constexpr std::size_t kLastNames = kMarkerStep * 128 + 8;
    const std::uint64_t markers_address = window_address + markers_at;
    const std::uint64_t block_address =
        align_down8(markers_address - last_marker - kLastNames) - 16;
    std::vector<std::uint8_t> block(static_cast<std::size_t>(markers_address - block_address));
    if (!memory.read(space, block_address, block)) return not_here;
    for (std::size_t at = 16; at + last_marker < block.size(); at += 8) {
        const std::uint32_t count = u32_at(block, at - 8);
        if (count <= (marker_count - 1) * kMarkerStep || count > marker_count * kMarkerStep)
            continue;
        NameCursor cursor{Bytes{block}.subspan(at), tables.long_names};
        std::uint32_t i = 0;
        for (; i < count; ++i) {
            if (i % kMarkerStep == 0 &&
                u32_at(window, markers_at + 4 * (i / kMarkerStep)) != cursor.position())
                break;
            if (effort.names_left == 0) return not_here;
            --effort.names_left;
            if (!cursor.next()) break;
        }
        if (i != count || block.size() - at - cursor.position() >= 8) continue;

        tables.names.assign(block.begin() + static_cast<std::ptrdiff_t>(at),
                            block.begin() + static_cast<std::ptrdiff_t>(at + cursor.position()));
        std::memcpy(&tables.relative_base, block.data() + at - 16, sizeof tables.relative_base);
        tables.offsets_address = align_down8(block_address + at - 16 - 4 * std::uint64_t{count});
        auto offsets = read_offsets(memory, space, tables.offsets_address, count);
        if (!offsets) return std::unexpected{offsets.error()};
        tables.offsets = std::move(*offsets);
        return tables;
    }
    return not_here;
}

std::expected<KallsymsTables, KallsymsError> find_tables(Memory& memory, const Vmcoreinfo& info) {
    const std::uint64_t start = info.image_physical(info.stext);
    const auto matches =
        memory.search({.pattern = {reinterpret_cast<const std::uint8_t*>(kDigitTokens.data()),
                                   kDigitTokens.size()},
                       .alignment = 1,
                       .start = start,
                       .end = start + kMaxImageSize,
                       .max_matches = kMaxPatternMatches});
    if (!matches) return std::unexpected{KallsymsError::memory};
    SearchEffort effort;
    for (const std::uint64_t match : matches->addresses) {
        auto tables =
            read_tables_around(memory, info.space(), info.stext + (match - start), effort);
        if (tables) return tables;
    }
    return std::unexpected{KallsymsError::not_found};
}

}  // namespace

std::string_view text(KallsymsError error) {
    switch (error) {
        case KallsymsError::memory: return "its symbol table (kallsyms) could not be read";
        case KallsymsError::not_found: return "its symbol table (kallsyms) was not found";
        case KallsymsError::bad_size: return "its symbol table (kallsyms) has an impossible size";
        case KallsymsError::bad_names:
            return "the names of its symbol table (kallsyms) do not decode";
        case KallsymsError::no_encoding:
            return "its symbol table (kallsyms) has addresses in an unknown encoding";
    }
    return "unknown";
}

std::string_view text(OffsetEncoding encoding) {
    switch (encoding) {
        case OffsetEncoding::absolute_percpu: return "absolute-percpu";
        case OffsetEncoding::relative: return "relative";
        case OffsetEncoding::place_relative: return "place-relative";
    }
    return "unknown";
}

std::uint64_t Kallsyms::address(std::size_t index) const {
    return symbol_address(tables_, encoding_, index);
}

std::expected<Kallsyms, KallsymsError> Kallsyms::create(KallsymsTables tables,
                                                        const Vmcoreinfo& info) {
    if (tables.offsets.size() > kMaxSymbols || tables.names.size() > kMaxNamesSize ||
        tables.token_table.size() > kMaxTokenTableSize)
        return std::unexpected{KallsymsError::bad_size};
    if (!tokens_are_sound(tables)) return std::unexpected{KallsymsError::bad_names};

    // Where the two symbols are whose addresses are known from elsewhere.
    constexpr std::string_view kStext{"_stext"};
    constexpr std::string_view kInitUtsNs{"init_uts_ns"};
    std::optional<std::size_t> stext;
    std::optional<std::size_t> init_uts_ns;
    NameCursor cursor{tables.names, tables.long_names};
    NameDecoder decoder{tables};
    for (std::size_t i = 0; i < tables.offsets.size(); ++i) {
        const auto compressed = cursor.next();
        if (!compressed) return std::unexpected{KallsymsError::bad_names};
        const std::size_t size = decoder.size_of(*compressed);
        if (size < 2 || size > 1 + kMaxSymbolName) return std::unexpected{KallsymsError::bad_names};
        if (!stext && size == 1 + kStext.size() && decoder.decode(*compressed).substr(1) == kStext)
            stext = i;
        if (!init_uts_ns && size == 1 + kInitUtsNs.size() &&
            decoder.decode(*compressed).substr(1) == kInitUtsNs)
            init_uts_ns = i;
    }
    if (!stext || !init_uts_ns) return std::unexpected{KallsymsError::no_encoding};
    for (const auto encoding : {OffsetEncoding::absolute_percpu, OffsetEncoding::relative,
                                OffsetEncoding::place_relative}) {
        if (symbol_address(tables, encoding, *stext) != info.stext ||
            symbol_address(tables, encoding, *init_uts_ns) != info.init_uts_ns)
            continue;
        Kallsyms kallsyms;
        kallsyms.tables_ = std::move(tables);
        kallsyms.encoding_ = encoding;
        return kallsyms;
    }
    return std::unexpected{KallsymsError::no_encoding};
}

std::expected<Kallsyms, KallsymsError> Kallsyms::load(Memory& memory, const Vmcoreinfo& info) {
    auto tables = info.kallsyms ? read_named_tables(memory, info.space(), *info.kallsyms)
                                : find_tables(memory, info);
    if (!tables) return std::unexpected{tables.error()};
    return create(std::move(*tables), info);
}

void Kallsyms::find(std::span<SymbolQuery> queries) const {
    for (SymbolQuery& query : queries)
        query.found = false;
    std::array<bool, 64> global{};
    std::array<bool, 2 + kMaxSymbolName> wanted{};  // by size, type letter included
    for (const SymbolQuery& query : queries)
        if (query.name.size() <= kMaxSymbolName) wanted[1 + query.name.size()] = true;
    NameCursor cursor{tables_.names, tables_.long_names};
    NameDecoder decoder{tables_};
    for (std::size_t i = 0; i < tables_.offsets.size(); ++i) {
        const auto compressed = cursor.next();
        if (!compressed) return;
        const std::size_t size = decoder.size_of(*compressed);
        if (size >= wanted.size() || !wanted[size]) continue;
        const std::string_view symbol = decoder.decode(*compressed);
        if (symbol.empty()) return;
        const bool is_global = symbol.front() >= 'A' && symbol.front() <= 'Z';
        for (std::size_t q = 0; q < std::min(queries.size(), global.size()); ++q) {
            SymbolQuery& query = queries[q];
            if (query.name != symbol.substr(1) || (query.found && (global[q] || !is_global)))
                continue;
            query = {.name = query.name, .address = address(i), .found = true};
            global[q] = is_global;
        }
    }
}

}  // namespace sgm::guest
