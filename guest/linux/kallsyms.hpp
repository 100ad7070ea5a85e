// SPDX-License-Identifier: MIT
// The kernel's own symbol table (kernel kernel/kallsyms.c, scripts/kallsyms.c), kept as the kernel
// keeps it: compressed names and 32-bit offsets, about 3 MiB, decoded on the way past.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <vector>

#include "guest/linux/vmcoreinfo.hpp"
#include "guest/memory.hpp"

namespace sgm::guest {

enum class KallsymsError {
    memory,       // a table could not be read
    not_found,    // before 6.0: no token table in the kernel image
    bad_size,     // a number of symbols or a table size beyond the bounds below
    bad_names,    // the names do not decode
    no_encoding,  // no known encoding of the offsets gives _stext its address
};
[[nodiscard]] std::string_view text(KallsymsError error);

// Debian's kernels have 87,000 to 198,000 symbols in 1 to 2.5 MB of names.
inline constexpr std::uint32_t kMinSymbols = 1000;
inline constexpr std::uint32_t kMaxSymbols = 500'000;  // 2 MB of offsets
inline constexpr std::size_t kMaxNamesSize = 6u << 20;
inline constexpr std::size_t kMaxTokenTableSize = 16u << 10;
inline constexpr std::size_t kMaxSymbolName = 511;  // KSYM_NAME_LEN - 1 since 6.1

// How a 32-bit entry of kallsyms_offsets becomes an address.
enum class OffsetEncoding {
    absolute_percpu,  // to 6.15: below 0 is base - 1 - offset, else the offset itself
    relative,         // 6.16 to 6.19: base + unsigned offset
    place_relative,   // from 7.0: address of the entry + signed offset
};
[[nodiscard]] std::string_view text(OffsetEncoding encoding);

// The tables as they were read. The guest controls every byte.
struct KallsymsTables {
    std::vector<std::uint8_t> names;        // for each symbol a length and that many token numbers
    std::vector<std::uint8_t> token_table;  // 256 strings that end with 0
    std::array<std::uint16_t, 256> token_index{};  // where each begins
    std::vector<std::int32_t> offsets;             // one for each symbol
    std::uint64_t offsets_address = 0;
    std::uint64_t relative_base = 0;
    bool long_names = true;  // from 6.1: a length byte with bit 7 has a second byte
};

// What to look for, and what was found.
struct SymbolQuery {
    std::string_view name;
    std::uint64_t address = 0;
    bool found = false;
};

class Kallsyms final {
  public:
    Kallsyms() = default;

    // Reads the tables where VMCOREINFO says they are, or, before 6.0, where their pattern is.
    [[nodiscard]] static std::expected<Kallsyms, KallsymsError> load(Memory& memory,
                                                                     const Vmcoreinfo& info);

    // Checks that all names decode and finds the encoding under which _stext and init_uts_ns have
    // the addresses that VMCOREINFO gives them.
    [[nodiscard]] static std::expected<Kallsyms, KallsymsError> create(KallsymsTables tables,
                                                                       const Vmcoreinfo& info);

    // Looks for all of `queries` (at most 64) in one pass. Where a name occurs more than once,
    // a global symbol wins over a local one, and an earlier over a later.
    void find(std::span<SymbolQuery> queries) const;

    [[nodiscard]] std::size_t size() const { return tables_.offsets.size(); }
    [[nodiscard]] OffsetEncoding encoding() const { return encoding_; }
    // index < size()
    [[nodiscard]] std::uint64_t address(std::size_t index) const;

  private:
    KallsymsTables tables_;
    OffsetEncoding encoding_ = OffsetEncoding::absolute_percpu;
};

}  // namespace sgm::guest
