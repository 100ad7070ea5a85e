// SPDX-License-Identifier: MIT
// For tests: the smallest ELF file that the signer takes, with a read-only, an executable and a
// writable segment, so that the image tests need no enclave compiler and run under sanitizers too.
#pragma once

#include <elf.h>

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "sgx/image/image.hpp"

namespace sgm::sgx {

struct ElfFixture {
    static constexpr std::uint64_t kConfig = 0;          // in the enclave: page 0
    static constexpr std::uint64_t kLayout = 0x1000;     // page 1
    static constexpr std::uint64_t kSoftEnclu = 0x1080;  //
    static constexpr std::uint64_t kCode = 0x2000;       // page 2
    static constexpr std::uint64_t kData = 0x3000;       // pages 3 and 4: 16 bytes, the rest zero
    static constexpr std::uint64_t kFileShift = 0x1000;  // of every segment
    static constexpr std::size_t kReadOnlyHeader = 0;    // indices of program headers
    static constexpr std::size_t kCodeHeader = 1;
    static constexpr std::size_t kDataHeader = 2;

    std::vector<std::uint8_t> bytes;

    ElfFixture() : bytes(0x5000) {
        Elf64_Ehdr header{};
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_DYN;
        header.e_machine = EM_X86_64;
        header.e_entry = kCode;
        header.e_phoff = sizeof header;
        header.e_shoff = 0x4800;
        header.e_phentsize = sizeof(Elf64_Phdr);
        header.e_phnum = 3;
        header.e_shentsize = sizeof(Elf64_Shdr);
        header.e_shnum = 3;
        put(0, header);
        put_segment(kReadOnlyHeader, PF_R, 0, 0x2000, 0x2000);
        put_segment(kCodeHeader, PF_R | PF_X, kCode, 0x800, 0x800);
        put_segment(kDataHeader, PF_R | PF_W, kData, 16, 0x1800);
        for (std::size_t i = 0; i < 0x800; ++i)
            bytes[kFileShift + kCode + i] = static_cast<std::uint8_t>(i * 7);
        put(kFileShift + kConfig, wire::kMeasuredConfigMagic);
        put(kFileShift + kLayout, kLayoutMagic);

        constexpr std::string_view names{"\0sgm_enclave_layout\0sgm_measured_config\0soft_enclu\0",
                                         51};
        std::memcpy(bytes.data() + 0x4400, names.data(), names.size());
        put_symbol(1, 1, kLayout);
        put_symbol(2, 20, kConfig);
        put_symbol(3, 40, kSoftEnclu);
        put_section(1, SHT_SYMTAB, 0x4500, 4 * sizeof(Elf64_Sym), 2);
        put_section(2, SHT_STRTAB, 0x4400, names.size(), 0);
    }

    template <typename T>
    void put(std::uint64_t offset, const T& value) {
        std::memcpy(bytes.data() + offset, &value, sizeof value);
    }
    [[nodiscard]] Elf64_Phdr& segment(std::size_t index) {
        return *reinterpret_cast<Elf64_Phdr*>(bytes.data() + sizeof(Elf64_Ehdr) +
                                              index * sizeof(Elf64_Phdr));
    }

  private:
    void put_segment(std::size_t index, std::uint32_t flags, std::uint64_t address,
                     std::uint64_t file_size, std::uint64_t memory_size) {
        segment(index) = {.p_type = PT_LOAD,
                          .p_flags = flags,
                          .p_offset = kFileShift + address,
                          .p_vaddr = address,
                          .p_paddr = address,
                          .p_filesz = file_size,
                          .p_memsz = memory_size,
                          .p_align = 0x1000};
    }
    void put_symbol(std::size_t index, std::uint32_t name, std::uint64_t value) {
        Elf64_Sym symbol{};
        symbol.st_name = name;
        symbol.st_shndx = 1;
        symbol.st_value = value;
        put(0x4500 + index * sizeof symbol, symbol);
    }
    void put_section(std::size_t index, std::uint32_t type, std::uint64_t offset,
                     std::uint64_t size, std::uint32_t link) {
        Elf64_Shdr section{};
        section.sh_type = type;
        section.sh_offset = offset;
        section.sh_size = size;
        section.sh_link = link;
        put(0x4800 + index * sizeof section, section);
    }
};

}  // namespace sgm::sgx
