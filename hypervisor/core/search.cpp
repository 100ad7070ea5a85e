// SPDX-License-Identifier: MIT
#include "hypervisor/core/search.hpp"

#include <algorithm>

namespace sgm::hypervisor {
namespace {

using wire::RamRange;
using wire::SearchCall;
using wire::SearchResult;

// std::has_single_bit would ask for libgcc's popcount, which Xen has not.
bool is_power_of_two(std::uint32_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

bool is_valid(const SearchCall& call) {
    return call.start <= call.end && is_power_of_two(call.alignment) &&
           call.alignment <= kPageSize && call.max_matches >= 1 &&
           call.max_matches <= wire::kMaxSearchMatches && call.pattern_size >= 1 &&
           call.pattern_size <= wire::kMaxPatternSize && call.reserved == 0;
}

// The first populated RAM at or after `start`, within [start, end); size 0 when there is none.
RamRange next_stretch(Memory& memory, std::uint64_t start, std::uint64_t end) {
    for (const RamRange& ram : memory.domain().ram_ranges()) {
        const std::uint64_t from = std::max(start, ram.start);
        const std::uint64_t to = std::min(end, ram.start + ram.size);
        if (from >= to) continue;
        memory.budget().spend_access();
        const RamRange hint = memory.domain().populated(from, to);
        // A port's slip must not lead out of RAM or backwards.
        if (hint.size != 0 && hint.start >= from && hint.start < to) {
            return {hint.start, std::min(hint.size, to - hint.start)};
        }
    }
    return {end, 0};
}

class Searcher final {
  public:
    Searcher(Memory& memory, const SearchCall& call, SearchWindow& window, Writer& matches,
             std::size_t max_matches)
        : memory_{memory},
          call_{call},
          pattern_{Bytes{call_.pattern}.first(call.pattern_size)},
          window_{window},
          matches_{matches},
          left_{max_matches} {}

    // Returns where to go on.
    std::uint64_t run() {
        std::uint64_t at = call_.start;
        while (at < call_.end) {
            if (memory_.budget().exhausted()) return at;
            const RamRange stretch = next_stretch(memory_, at, call_.end);
            if (stretch.size == 0) return call_.end;
            at = align_up(stretch.start);
            const std::uint64_t stretch_end = stretch.start + stretch.size;
            while (at < stretch_end) {
                if (left_ == 0 || memory_.budget().exhausted() ||
                    memory_.budget().search_left() == 0) {
                    return at;
                }
                at = look_at_page(at, stretch_end);
            }
        }
        return call_.end;
    }

  private:
    [[nodiscard]] std::uint64_t align_up(std::uint64_t address) const {
        const std::uint64_t mask = call_.alignment - 1;
        return (address + mask) & ~mask;
    }

    // Compares at every aligned address from `at` to the end of its page, or of the stretch;
    // returns the next one to look at.
    std::uint64_t look_at_page(std::uint64_t at, std::uint64_t stretch_end) {
        const std::uint64_t page_end =
            std::min<std::uint64_t>(stretch_end, (at / kPageSize + 1) * kPageSize);
        memory_.budget().spend_search(page_end - at);
        // With one candidate in the page there is no need to fetch all of it.
        const std::uint64_t wanted =
            call_.alignment == kPageSize ? pattern_.size() : page_end - at + pattern_.size() - 1;
        const MutableBytes bytes = MutableBytes{window_}.first(wanted);
        const std::size_t got = memory_.read_physical(at, bytes).size;
        for (std::uint64_t i = 0; i + pattern_.size() <= got; i += call_.alignment) {
            if (bytes[i] != pattern_[0] ||
                std::memcmp(&bytes[i], pattern_.data(), pattern_.size()) != 0) {
                continue;
            }
            if (left_ == 0) return at + i;
            matches_.put(at + i);
            --left_;
        }
        return align_up(page_end);
    }

    Memory& memory_;
    const SearchCall& call_;
    Bytes pattern_;
    SearchWindow& window_;
    Writer& matches_;
    std::size_t left_;
};

}  // namespace

OpResult search(Memory& memory, Bytes arguments, SearchWindow& window, MutableBytes room) {
    Reader reader{arguments};
    const auto call = reader.take<SearchCall>();
    if (!call || !reader.empty() || !is_valid(*call)) return {wire::OpStatus::malformed};
    if (room.size() < sizeof(SearchResult) + sizeof(std::uint64_t) ||
        memory.budget().search_left() == 0) {
        return {wire::OpStatus::deferred};
    }

    Writer matches{room.subspan(sizeof(SearchResult))};
    const std::size_t max_matches =
        std::min<std::size_t>(call->max_matches, matches.room() / sizeof(std::uint64_t));
    const std::uint64_t next = Searcher{memory, *call, window, matches, max_matches}.run();

    Writer result{room};
    result.put(
        SearchResult{.next = std::min(next, call->end),
                     .count = static_cast<std::uint32_t>(matches.size() / sizeof(std::uint64_t)),
                     .reserved = 0});
    return {wire::OpStatus::ok, sizeof(SearchResult) + matches.size()};
}

}  // namespace sgm::hypervisor
