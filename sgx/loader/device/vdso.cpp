// SPDX-License-Identifier: MIT
#include "sgx/loader/device/vdso.hpp"

#include <elf.h>

#include <span>

namespace sgm::sgx::device {
namespace {

// What the dynamic section says about symbols, as addresses in this process.
struct SymbolTables {
    const Elf64_Sym* symbols = nullptr;
    const char* strings = nullptr;
    std::size_t count = 0;
};

// The number of symbols: DT_HASH has it; with DT_GNU_HASH alone (Linux 6.12 and later) it is one
// more than the last of the longest chain.
std::size_t gnu_hash_symbols(const std::uint32_t* table) {
    const std::uint32_t bucket_count = table[0];
    const std::uint32_t first = table[1];
    const std::uint32_t bloom_words = table[2];
    const std::uint32_t* buckets = table + 4 + 2 * bloom_words;  // a bloom word has 64 bits
    const std::uint32_t* chains = buckets + bucket_count;
    std::uint32_t last = 0;
    for (const std::uint32_t bucket : std::span{buckets, bucket_count})
        last = bucket > last ? bucket : last;
    if (last < first) return first;
    while ((chains[last - first] & 1) == 0)
        ++last;
    return last + 1;
}

SymbolTables symbol_tables(std::uint64_t bias, const Elf64_Dyn* dynamic) {
    SymbolTables tables;
    for (; dynamic->d_tag != DT_NULL; ++dynamic) {
        const std::uint64_t address = bias + dynamic->d_un.d_ptr;
        switch (dynamic->d_tag) {
            case DT_SYMTAB: tables.symbols = reinterpret_cast<const Elf64_Sym*>(address); break;
            case DT_STRTAB: tables.strings = reinterpret_cast<const char*>(address); break;
            case DT_HASH: tables.count = reinterpret_cast<const std::uint32_t*>(address)[1]; break;
            case DT_GNU_HASH:
                if (tables.count == 0)
                    tables.count =
                        gnu_hash_symbols(reinterpret_cast<const std::uint32_t*>(address));
                break;
            default: break;
        }
    }
    return tables;
}

}  // namespace

std::uint64_t vdso_symbol(std::uint64_t vdso, std::string_view name) {
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(vdso);
    const std::span segments{reinterpret_cast<const Elf64_Phdr*>(vdso + header->e_phoff),
                             header->e_phnum};
    std::uint64_t bias = 0;
    const Elf64_Dyn* dynamic = nullptr;
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type == PT_LOAD) bias = vdso + segment.p_offset - segment.p_vaddr;
        if (segment.p_type == PT_DYNAMIC)
            dynamic = reinterpret_cast<const Elf64_Dyn*>(vdso + segment.p_offset);
    }
    if (dynamic == nullptr) return 0;
    const SymbolTables tables = symbol_tables(bias, dynamic);
    if (tables.symbols == nullptr || tables.strings == nullptr) return 0;
    for (const Elf64_Sym& symbol : std::span{tables.symbols, tables.count}) {
        if (symbol.st_shndx != SHN_UNDEF && name == tables.strings + symbol.st_name)
            return bias + symbol.st_value;
    }
    return 0;
}

}  // namespace sgm::sgx::device
