// SPDX-License-Identifier: MIT
// Reads the one kind of ELF file that an enclave is: a static PIE for x86-64. Total: the file may
// come from anywhere, and every byte string gives an image or one sentence that says why not.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"

namespace sgm::sgx {

// One PT_LOAD. Starts at a page boundary; no two segments share a page; never W and X together.
struct Segment {
    std::uint64_t offset;       // in the enclave
    std::uint64_t file_offset;  // [file_offset, file_offset + file_size) lies in the file
    std::uint64_t file_size;    // <= memory_size; the rest is zero
    std::uint64_t memory_size;
    bool read;
    bool write;
    bool execute;

    [[nodiscard]] std::uint64_t end() const;  // rounded up to whole pages
};

// "code", "data", "read-only data": for people.
[[nodiscard]] std::string_view segment_name(const Segment& segment);

// Refers to the bytes that it was parsed from.
class ElfFile final {
  public:
    static constexpr std::size_t kMaxSegments = 16;

    [[nodiscard]] static std::expected<ElfFile, std::string> parse(Bytes file);

    [[nodiscard]] std::uint64_t entry() const { return entry_; }  // in an executable segment
    [[nodiscard]] const std::vector<Segment>& segments() const { return segments_; }
    [[nodiscard]] std::uint64_t image_end() const { return segments_.back().end(); }
    [[nodiscard]] Bytes contents(const Segment& segment) const;

    // Where `size` bytes of a read-only segment lie in the file, given a name from the symbol
    // table. The sentence says what is missing.
    [[nodiscard]] std::expected<std::uint64_t, std::string> read_only_object(
        std::string_view symbol, std::uint64_t size) const;

    // The offset in the enclave of the byte at `file_offset`, which read_only_object() gave.
    [[nodiscard]] std::uint64_t enclave_offset(std::uint64_t file_offset) const;

  private:
    explicit ElfFile(Bytes file) : file_{file} {}
    [[nodiscard]] std::expected<void, std::string> parse_segments(std::uint64_t offset,
                                                                  std::uint16_t count);
    [[nodiscard]] std::expected<void, std::string> find_symbols(std::uint64_t offset,
                                                                std::uint16_t count);

    Bytes file_;
    std::uint64_t entry_ = 0;
    std::vector<Segment> segments_;
    Bytes symbols_;  // of .symtab
    Bytes names_;    // its string table
};

}  // namespace sgm::sgx
