// SPDX-License-Identifier: MIT
#include "sgx/image/elf.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "sgx/image/layout.hpp"

namespace sgm::sgx {
namespace {

std::unexpected<std::string> refuse(std::string why) {
    return std::unexpected(std::move(why));
}

// The bytes [offset, offset + size) of `file`, or nothing. Cannot wrap.
std::optional<Bytes> part(Bytes file, std::uint64_t offset, std::uint64_t size) {
    if (offset > file.size() || size > file.size() - offset) return std::nullopt;
    return file.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
}

}  // namespace

std::uint64_t Segment::end() const {
    return (offset + memory_size + kPageSize - 1) & ~(kPageSize - 1);
}

std::string_view segment_name(const Segment& segment) {
    if (segment.execute) return "code";
    return segment.write ? "data" : "read-only data";
}

std::expected<ElfFile, std::string> ElfFile::parse(Bytes file) {
    const auto header = Reader{file}.take<Elf64_Ehdr>();
    if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return refuse("it is not an ELF file, or is cut off in its header");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != EM_X86_64)
        return refuse("it is an ELF file, but not for x86-64");
    if (header->e_type != ET_DYN)
        return refuse("it is not position independent (ET_DYN), so no enclave");
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_shentsize != sizeof(Elf64_Shdr))
        return refuse("its header tables have entries of an unknown size");

    ElfFile elf{file};
    elf.entry_ = header->e_entry;
    if (auto result = elf.parse_segments(header->e_phoff, header->e_phnum); !result)
        return std::unexpected(std::move(result.error()));
    if (auto result = elf.find_symbols(header->e_shoff, header->e_shnum); !result)
        return std::unexpected(std::move(result.error()));
    return elf;
}

std::expected<void, std::string> ElfFile::parse_segments(std::uint64_t offset,
                                                         std::uint16_t count) {
    const auto table = part(file_, offset, std::uint64_t{count} * sizeof(Elf64_Phdr));
    if (!table) return refuse("it is cut off in its program headers");
    Reader reader{*table};
    while (const auto header = reader.take<Elf64_Phdr>()) {
        if (header->p_type == PT_TLS)
            return refuse("it has thread-local variables, which an enclave cannot have");
        if (header->p_type == PT_INTERP)
            return refuse("it wants a dynamic linker, so it is no static image");
        if (header->p_type != PT_LOAD) continue;
        const std::string name = fmt::format("its segment at {:#x}", header->p_vaddr);
        if (segments_.size() == kMaxSegments)
            return refuse(fmt::format("it has more than {} segments", kMaxSegments));
        if (!part(file_, header->p_offset, header->p_filesz))
            return refuse(name + " is cut off: the file is too short");
        if (header->p_vaddr % kPageSize != 0)
            return refuse(name + " does not start at a page boundary");
        if (header->p_memsz == 0 || header->p_filesz > header->p_memsz ||
            header->p_memsz > kMaxImageSize || header->p_vaddr > kMaxImageSize - header->p_memsz)
            return refuse(name +
                          fmt::format(" is empty, or ends above {} MiB", kMaxImageSize >> 20));
        if (!segments_.empty() && header->p_vaddr < segments_.back().end())
            return refuse(name + " overlaps the one before it");
        const Segment segment{.offset = header->p_vaddr,
                              .file_offset = header->p_offset,
                              .file_size = header->p_filesz,
                              .memory_size = header->p_memsz,
                              .read = (header->p_flags & PF_R) != 0,
                              .write = (header->p_flags & PF_W) != 0,
                              .execute = (header->p_flags & PF_X) != 0};
        if (!segment.read) return refuse(name + " cannot be read");
        if (segment.write && segment.execute)
            return refuse(name + " is writable and executable at once");
        segments_.push_back(segment);
    }
    if (segments_.empty()) return refuse("it has no segments to load");
    const bool entry_is_code =
        std::any_of(segments_.begin(), segments_.end(), [this](const Segment& segment) {
            return segment.execute && entry_ >= segment.offset &&
                   entry_ - segment.offset < segment.file_size;
        });
    if (!entry_is_code) return refuse("its entry point lies outside its code");
    return {};
}

std::expected<void, std::string> ElfFile::find_symbols(std::uint64_t offset, std::uint16_t count) {
    const auto table = part(file_, offset, std::uint64_t{count} * sizeof(Elf64_Shdr));
    if (!table) return refuse("it is cut off in its section headers");
    Reader reader{*table};
    while (const auto header = reader.take<Elf64_Shdr>()) {
        if (header->sh_type != SHT_SYMTAB) continue;
        if (header->sh_link >= count) return refuse("its symbol table has no names");
        const auto names =
            Reader{table->subspan(header->sh_link * sizeof(Elf64_Shdr))}.take<Elf64_Shdr>();
        const auto symbols = part(file_, header->sh_offset, header->sh_size);
        const auto strings = part(file_, names->sh_offset, names->sh_size);
        if (!symbols || !strings) return refuse("it is cut off in its symbol table");
        symbols_ = *symbols;
        names_ = *strings;
        return {};
    }
    return refuse("it has no symbol table: it was stripped");
}

Bytes ElfFile::contents(const Segment& segment) const {
    return file_.subspan(static_cast<std::size_t>(segment.file_offset),
                         static_cast<std::size_t>(segment.file_size));
}

std::expected<std::uint64_t, std::string> ElfFile::read_only_object(std::string_view symbol,
                                                                    std::uint64_t size) const {
    Reader reader{symbols_};
    while (const auto entry = reader.take<Elf64_Sym>()) {
        // The name and its terminating zero must lie in the string table.
        const auto name = part(names_, entry->st_name, symbol.size() + 1);
        if (!name || std::memcmp(name->data(), symbol.data(), symbol.size()) != 0 ||
            name->back() != 0 || entry->st_shndx == SHN_UNDEF)
            continue;
        for (const Segment& segment : segments_) {
            if (segment.write || segment.execute || entry->st_value < segment.offset) continue;
            const std::uint64_t inside = entry->st_value - segment.offset;
            if (inside > segment.file_size || size > segment.file_size - inside) continue;
            return segment.file_offset + inside;
        }
        return refuse(fmt::format("its symbol {} does not lie in read-only data", symbol));
    }
    return refuse(fmt::format("it has no symbol {}: it is no enclave of SGmonitor", symbol));
}

std::uint64_t ElfFile::enclave_offset(std::uint64_t file_offset) const {
    for (const Segment& segment : segments_)
        if (!segment.write && !segment.execute && file_offset >= segment.file_offset &&
            file_offset - segment.file_offset < segment.file_size)
            return segment.offset + (file_offset - segment.file_offset);
    return 0;
}

}  // namespace sgm::sgx
