// SPDX-License-Identifier: MIT
// For tests: makes kallsyms tables as scripts/kallsyms.c does, with a generated token table.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "guest/linux/kallsyms.hpp"

namespace sgm::guest::testing {

struct Symbol {
    char type;
    std::string name;
    std::uint64_t address;
};

// `count` symbols with generated names, ascending from `start` on.
[[nodiscard]] std::vector<Symbol> generate_symbols(std::mt19937_64& random, std::size_t count,
                                                   std::uint64_t start);

// The tables without their offsets, which may depend on where the tables will lie. Names of 128
// tokens and more need `long_names`.
[[nodiscard]] KallsymsTables compress_names(std::mt19937_64& random,
                                            const std::vector<Symbol>& symbols, bool long_names);

// Fills in offsets and relative_base; `base` is below all addresses of the kernel image.
void encode_offsets(KallsymsTables& tables, const std::vector<Symbol>& symbols,
                    OffsetEncoding encoding, std::uint64_t base, std::uint64_t offsets_address);

// Where every 256th name begins.
[[nodiscard]] std::vector<std::uint32_t> markers(const KallsymsTables& tables, std::size_t count);

}  // namespace sgm::guest::testing
