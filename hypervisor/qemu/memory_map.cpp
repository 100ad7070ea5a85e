// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/memory_map.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string>

#include "wire/sgm_op.hpp"

namespace sgm::qemu {
namespace {

constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kMaxPhysical = 1ull << 52;

std::unexpected<config::Error> not_understood(std::string reason) {
    return std::unexpected{config::Error{"QEMU's memory map is not understood: " + reason}};
}

std::string_view take_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

bool skip(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

std::optional<std::uint64_t> take_hex(std::string_view& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (error != std::errc{}) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value;
}

struct Line {
    std::uint64_t first, last, offset;
    std::string_view type, name;
};

// "  0000000100000000-00000001bfffffff (prio 0, ram): m @0000000080000000 KVM"
std::optional<Line> parse_line(std::string_view text) {
    while (skip(text, " ")) {
    }
    Line line{};
    const auto first = take_hex(text);
    if (!first || !skip(text, "-")) return std::nullopt;
    const auto last = take_hex(text);
    if (!last || !skip(text, " (prio ")) return std::nullopt;
    const std::size_t comma = text.find(", ");
    const std::size_t close = text.find("): ");
    if (comma == text.npos || close == text.npos || comma > close) return std::nullopt;
    line = {.first = *first,
            .last = *last,
            .offset = 0,
            .type = text.substr(comma + 2, close - comma - 2),
            .name = text.substr(close + 3)};
    if (line.name.ends_with(" KVM")) line.name.remove_suffix(4);
    const std::size_t at = line.name.rfind(" @");
    if (at != line.name.npos) {
        std::string_view digits = line.name.substr(at + 2);
        const auto offset = take_hex(digits);
        if (!offset || !digits.empty()) return std::nullopt;
        line.offset = *offset;
        line.name = line.name.substr(0, at);
    }
    return line;
}

// The lines of the flat view that the address space "memory" uses: what the CPUs see.
std::optional<std::string_view> find_view(std::string_view mtree) {
    while (!mtree.empty()) {
        const std::size_t end = mtree.find("\n\n");
        std::string_view view = mtree.substr(0, end);
        if (view.find(" AS \"memory\", root: system") != view.npos) return view;
        mtree.remove_prefix(end == mtree.npos ? mtree.size() : end + 2);
    }
    return std::nullopt;
}

using Backends = std::map<std::string_view, std::vector<MappedRange>>;

config::Result<Backends> backends_of(std::string_view view) {
    Backends backends;
    while (!view.empty()) {
        const std::string_view text = take_line(view);
        if (!text.starts_with("  ")) continue;  // titles
        const auto line = parse_line(text);
        if (!line) return not_understood(fmt::format("the line '{}'", text));
        if (line->type != "ram") continue;
        const std::uint64_t size = line->last - line->first + 1;
        if (line->last < line->first || line->last >= kMaxPhysical ||
            line->offset >= kMaxPhysical) {
            return not_understood(fmt::format("the range in '{}'", text));
        }
        // Older machine types name a block by the path of its backend.
        std::string_view name = line->name;
        skip(name, "/objects/");
        backends[name].push_back({line->first, size, line->offset});
    }
    return backends;
}

bool fits(const std::vector<MappedRange>& ranges, std::uint64_t file_size) {
    std::uint64_t end = 0;
    for (const MappedRange& range : ranges)
        end = std::max(end, range.offset + range.size);
    return end == file_size;
}

config::Result<void> check_range(const MappedRange& range, std::uint64_t file_size) {
    if (range.start % kPageSize != 0 || range.size % kPageSize != 0 ||
        range.offset % kPageSize != 0) {
        return not_understood(fmt::format("RAM at {:#x} is not made of pages", range.start));
    }
    if (range.offset + range.size > file_size) {
        return not_understood(
            fmt::format("RAM at {:#x} lies beyond the end of the memory file ({} bytes)",
                        range.start, file_size));
    }
    return {};
}

config::Result<std::vector<MappedRange>> joined(std::vector<MappedRange> ranges) {
    std::ranges::sort(ranges, {}, &MappedRange::start);
    std::vector<MappedRange> result;
    for (const MappedRange& range : ranges) {
        const std::uint64_t end = result.empty() ? 0 : result.back().start + result.back().size;
        if (range.start < end) {
            return not_understood(fmt::format("RAM at {:#x} overlaps other RAM", range.start));
        }
        if (!result.empty() && range.start == end && range.block == result.back().block &&
            range.offset == result.back().offset + result.back().size) {
            result.back().size += range.size;
        } else {
            result.push_back(range);
        }
    }
    if (result.size() > wire::kMaxRamRanges) {
        return not_understood(fmt::format("{} separate RAM ranges", result.size()));
    }
    return result;
}

// The name in the map of the block; each is taken once.
config::Result<std::string_view> name_of(const MemoryBlock& block, const Backends& backends) {
    std::vector<std::string_view> candidates;
    std::string names;
    for (const auto& [name, ranges] : backends) {
        if (block.name.empty() ? fits(ranges, block.size) : name == block.name)
            candidates.push_back(name);
        names += (names.empty() ? "" : ", ") + std::string{name};
    }
    if (candidates.size() == 1) return candidates[0];
    if (!block.name.empty()) {
        return not_understood(
            fmt::format("no RAM is called '{}'; there is: {}", block.name, names));
    }
    return not_understood(fmt::format(
        "{} of its RAM blocks ({}) fit the memory file's {} bytes; name the right one with "
        "`backend` in the configuration",
        candidates.size(), names, block.size));
}

config::Result<Backends> visible_backends(std::string_view mtree) {
    const auto view = find_view(mtree);
    if (!view) return not_understood("it has no address space \"memory\"");
    return backends_of(*view);
}

}  // namespace

config::Result<std::vector<MappedRange>> parse_memory_map(std::string_view mtree,
                                                          std::span<const MemoryBlock> blocks) {
    auto backends = visible_backends(mtree);
    if (!backends) return std::unexpected{backends.error()};
    std::vector<MappedRange> all;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const auto name = name_of(blocks[i], *backends);
        if (!name) return std::unexpected{name.error()};
        for (MappedRange range : (*backends)[*name]) {
            if (auto sound = check_range(range, blocks[i].size); !sound)
                return std::unexpected{sound.error()};
            range.block = i;
            all.push_back(range);
        }
    }
    return joined(std::move(all));
}

config::Result<std::vector<SeenBlock>> ram_blocks_of(std::string_view mtree) {
    const auto backends = visible_backends(mtree);
    if (!backends) return std::unexpected{backends.error()};
    std::vector<SeenBlock> blocks;
    for (const auto& [name, ranges] : *backends) {
        const auto& lowest = *std::ranges::min_element(ranges, {}, &MappedRange::start);
        blocks.push_back({std::string{name}, lowest.start, lowest.offset});
    }
    return blocks;
}

}  // namespace sgm::qemu
