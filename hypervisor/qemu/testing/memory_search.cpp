// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/memory_search.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "config/descriptor.hpp"

namespace sgm::qemu::testing {
namespace {

constexpr std::size_t kPiece = sizeof(std::uint64_t);
constexpr std::size_t kChunk = 1ul << 20;

std::uint64_t word_at(const std::uint8_t* bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    return word;
}

std::uint64_t with_turned_halves(std::uint64_t word) {
    const std::uint64_t turned = __builtin_bswap64(word);
    return turned << 32 | turned >> 32;
}

}  // namespace

void MemorySearch::add(const std::string& name, Bytes secret) {
    for (std::size_t at = 0; at + kPiece <= secret.size(); at += kPiece) {
        const std::uint64_t piece = word_at(&secret[at]);
        add_piece(name, piece);
        add_piece(name, with_turned_halves(piece));
    }
}

void MemorySearch::add_piece(const std::string& name, std::uint64_t piece) {
    std::array<std::uint8_t, kPiece> bytes;
    std::memcpy(bytes.data(), &piece, sizeof(piece));
    // A part of a structure that is not in use is no secret.
    if (std::ranges::count(bytes, 0) > 3) return;
    pieces_.emplace(piece, name);
    beginnings_.set(piece & 0xffff);
}

std::optional<MemorySearch::Found> MemorySearch::look(pid_t process) const {
    const config::Descriptor memory{
        ::open(fmt::format("/proc/{}/mem", process).c_str(), O_RDONLY | O_CLOEXEC)};
    std::ifstream maps{fmt::format("/proc/{}/maps", process)};
    if (!memory || !maps) return std::nullopt;
    Found found;
    std::vector<std::uint8_t> bytes(kChunk + kPiece - 1);
    for (std::string line; std::getline(maps, line);) {
        char* rest = nullptr;
        const std::uint64_t start = std::strtoull(line.c_str(), &rest, 16);
        const std::uint64_t end = std::strtoull(rest + 1, &rest, 16);
        if (rest[1] != 'r') continue;
        for (std::uint64_t at = start; at < end; at += kChunk) {
            const std::size_t wanted = std::min<std::uint64_t>(bytes.size(), end - at);
            // A mapping that cannot be read for all that: the kernel's own, or beyond a file's end.
            const ssize_t size =
                ::pread(memory.get(), bytes.data(), wanted, static_cast<off_t>(at));
            if (size <= 0) break;
            look_at(Bytes{bytes}.first(static_cast<std::size_t>(size)),
                    fmt::format("{:#x} of {}", at, line), found);
        }
    }
    return found;
}

void MemorySearch::look_at(Bytes memory, const std::string& mapping, Found& found) const {
    for (std::size_t at = 0; at + kPiece <= memory.size(); ++at) {
        const std::uint64_t word = word_at(&memory[at]);
        if (!beginnings_[word & 0xffff]) continue;
        const auto piece = pieces_.find(word);
        if (piece == pieces_.end()) continue;
        found.names.insert(piece->second);
        found.places.push_back(fmt::format("{} at +{:#x} from {}", piece->second, at, mapping));
    }
}

}  // namespace sgm::qemu::testing
