// SPDX-License-Identifier: MIT
#include "hypervisor/core/walk.hpp"

#include <algorithm>

namespace sgm::hypervisor {
namespace {

using wire::FieldPath;
using wire::ListShape;
using wire::OpStatus;
using wire::WalkCall;
using wire::WalkResult;
using wire::WalkRow;
using wire::WalkStop;

// Two's complement: a negative offset is a large positive one, and the sum wraps as pointers do.
std::uint64_t extended(std::int32_t offset) {
    return static_cast<std::uint64_t>(std::int64_t{offset});
}

// A list longer than the processor's caches waits for memory at each of its lines, so the lines of
// a node are asked for together and a node ahead. What is shorter lies in the second-level cache
// from the last time, where asking costs more than waiting.
constexpr std::uint32_t kPrefetchFrom = 512;  // nodes
constexpr std::size_t kMaxPrefetched = 8;     // lines of one node
constexpr std::int64_t kNear = 32;            // bytes between fields that share one, if not always

// Why a field's bytes are not there.
enum class Field { read, null, faulted };

// R. P. Brent, An improved Monte Carlo factorization algorithm, 1980: the tortoise waits where the
// hare was at the last power of two.
class Tortoise final {
  public:
    // The hare is at `link`, which would be row `row`: the row of the same node, when it meets it.
    [[nodiscard]] std::optional<std::uint32_t> meets(std::uint64_t link, std::uint32_t row) const {
        if (row == 0 || link != link_) return std::nullopt;
        return row_;
    }
    void follow(std::uint64_t link, std::uint32_t row) {
        if (row != 0 && row != next_wait_) return;
        link_ = link;
        row_ = row;
        next_wait_ = row == 0 ? 1 : row * 2;
    }

  private:
    std::uint64_t link_ = 0;
    std::uint32_t row_ = 0;
    std::uint32_t next_wait_ = 1;
};

class ListWalk final {
  public:
    // The arguments, checked; nullopt when they are malformed.
    static std::optional<ListWalk> from(Memory& memory, Bytes arguments, WalkFields& fields);

    [[nodiscard]] std::size_t row_size() const { return row_size_; }
    // Fills `rows`, which has room for at least one.
    [[nodiscard]] WalkResult run(MutableBytes rows);

  private:
    ListWalk(Memory& memory, const WalkCall& call, const AddressSpace& space,
             std::span<const FieldPath> fields, std::size_t row_size)
        : memory_{memory}, call_{call}, space_{space}, fields_{fields}, row_size_{row_size} {
        for (const FieldPath& field : fields_) {
            const auto near = [&field](std::int32_t line) {
                const std::int64_t distance = std::int64_t{line} - field.offsets[0];
                return distance > -kNear && distance < kNear;
            };
            const std::span known = std::span{lines_}.first(line_count_);
            if (line_count_ == lines_.size() || std::ranges::any_of(known, near)) continue;
            lines_[line_count_++] = field.offsets[0];
        }
    }

    [[nodiscard]] bool is_end(std::uint64_t link, std::uint32_t nodes_before) const;
    [[nodiscard]] std::optional<std::uint64_t> next_of(std::uint64_t link);
    // Whether no row comes at `result.next`; `result` says then how the walk ended.
    [[nodiscard]] bool ends(Bytes rows, std::uint32_t max_rows, const Tortoise& tortoise,
                            WalkResult& result) const;
    // To the next link, `next` when it was read; false: `result` has the fault that ends the walk.
    [[nodiscard]] bool step(WalkResult& result, std::optional<std::uint64_t> next);
    void prefetch(std::uint64_t link);
    void write_row(std::uint64_t link, MutableBytes row);
    // `out` is zeros unless the field was read.
    [[nodiscard]] Field read_field(std::uint64_t node, const FieldPath& field, MutableBytes out);
    [[nodiscard]] std::uint64_t node_of(Bytes rows, std::uint32_t row) const;
    [[nodiscard]] std::optional<std::uint32_t> last_row_of(Bytes rows,
                                                           const WalkResult& result) const;
    void cut_repetition(Bytes rows, std::uint32_t tortoise, std::uint32_t hare,
                        WalkResult& result) const;

    Memory& memory_;
    WalkCall call_;
    AddressSpace space_;
    std::span<const FieldPath> fields_;  // checked
    // Offsets in the node of the cache lines that fields begin in, as far as they may differ.
    std::array<std::int32_t, kMaxPrefetched> lines_{};
    std::size_t line_count_ = 0;
    std::size_t row_size_;
};

std::optional<ListWalk> ListWalk::from(Memory& memory, Bytes arguments, WalkFields& fields) {
    Reader reader{arguments};
    const auto call = reader.take<WalkCall>();
    if (!call) return std::nullopt;
    const auto space = AddressSpace::from(call->root, call->paging);
    const bool shape_known = call->shape == ListShape::circular || call->shape == ListShape::null ||
                             call->shape == ListShape::nulls;
    if (!space || !shape_known || call->max_nodes < 1 || call->max_nodes > wire::kMaxWalkNodes ||
        call->field_count < 1 || call->field_count > wire::kMaxWalkFields) {
        return std::nullopt;
    }
    std::size_t row_size = sizeof(WalkRow);
    for (std::uint32_t i = 0; i < call->field_count; ++i) {
        const auto field = reader.take<FieldPath>();
        if (!field || field->size < 1 || field->size > wire::kMaxFieldSize ||
            field->hop_count > wire::kMaxFieldHops || field->reserved != 0) {
            return std::nullopt;
        }
        fields[i] = *field;
        row_size += field->size;
    }
    if (!reader.empty()) return std::nullopt;
    return ListWalk{memory, *call, *space, std::span{fields}.first(call->field_count),
                    align8(row_size)};
}

bool ListWalk::is_end(std::uint64_t link, std::uint32_t nodes_before) const {
    switch (call_.shape) {
        // "Again": the head may itself be the first link, then its node is a row like any other.
        case ListShape::circular: return link == call_.head && nodes_before != 0;
        case ListShape::null: return link == 0;
        case ListShape::nulls: return (link & 1) != 0;
    }
    return true;
}

Field ListWalk::read_field(std::uint64_t node, const FieldPath& field, MutableBytes out) {
    std::uint64_t address = node;
    for (std::uint32_t hop = 0; hop < field.hop_count; ++hop) {
        std::uint64_t pointer = 0;
        const std::uint64_t at = address + extended(field.offsets[hop]);
        if (!memory_.read_field(at, mutable_bytes_of(pointer))) return Field::faulted;
        if (pointer == 0) return Field::null;
        address = pointer;
    }
    const std::uint64_t at = address + extended(field.offsets[field.hop_count]);
    return memory_.read_field(at, out) ? Field::read : Field::faulted;
}

void ListWalk::prefetch(std::uint64_t link) {
    const std::uint64_t node = link - extended(call_.link_offset);
    memory_.prefetch_field(link + extended(call_.next_offset));
    for (const std::int32_t line : std::span{lines_}.first(line_count_))
        memory_.prefetch_field(node + extended(line));
}

void ListWalk::write_row(std::uint64_t link, MutableBytes row) {
    WalkRow header{.node = link - extended(call_.link_offset), .bad_fields = 0, .null_fields = 0};
    std::size_t at = sizeof(WalkRow);
    for (std::uint32_t i = 0; i < fields_.size(); ++i) {
        const FieldPath& field = fields_[i];
        const MutableBytes out = row.subspan(at, field.size);
        const Field outcome = read_field(header.node, field, out);
        if (outcome != Field::read) {
            header.bad_fields |= 1u << i;
            std::memset(out.data(), 0, out.size());
        }
        if (outcome == Field::null) header.null_fields |= 1u << i;
        at += field.size;
    }
    for (; at < row.size(); ++at)
        row[at] = 0;
    Writer{row}.put(header);
}

std::uint64_t ListWalk::node_of(Bytes rows, std::uint32_t row) const {
    std::uint64_t node = 0;
    std::memcpy(&node, &rows[row * row_size_], sizeof(node));
    return node;
}

// The last row of the node at link `result.next`. Brent's detection needs up to three times the
// nodes of a list; a look at all rows makes up for what a bound cuts off.
std::optional<std::uint32_t> ListWalk::last_row_of(Bytes rows, const WalkResult& result) const {
    const std::uint64_t node = result.next - extended(call_.link_offset);
    for (std::uint32_t row = result.node_count; row-- > 0;) {
        if (node_of(rows, row) == node) return row;
    }
    return std::nullopt;
}

// Row `tortoise` and the one that would be row `hare` are the same node. The rows themselves tell
// where the repetition began; what follows it is cut off.
void ListWalk::cut_repetition(Bytes rows, std::uint32_t tortoise, std::uint32_t hare,
                              WalkResult& result) const {
    const std::uint32_t length = hare - tortoise;
    std::uint32_t first = 0;
    while (first < tortoise && node_of(rows, first) != node_of(rows, first + length))
        ++first;
    result.node_count = first + length;
    result.next = node_of(rows, first) + extended(call_.link_offset);
}

WalkResult ListWalk::run(MutableBytes rows) {
    const auto max_rows =
        static_cast<std::uint32_t>(std::min<std::size_t>(call_.max_nodes, rows.size() / row_size_));
    WalkResult result{.stop = WalkStop::bound,
                      .node_count = 0,
                      .next = call_.first,
                      .fault = {},
                      .row_size = static_cast<std::uint32_t>(row_size_),
                      .reserved = 0};
    memory_.enter(space_);

    Tortoise tortoise;
    while (!ends(rows, max_rows, tortoise, result)) {
        const std::uint32_t row = result.node_count;
        // First, so that the next node is under way while this one's fields are read.
        const auto next = next_of(result.next);
        if (next && row >= kPrefetchFrom) prefetch(*next);
        write_row(result.next, rows.subspan(row * row_size_, row_size_));
        tortoise.follow(result.next, row);
        ++result.node_count;
        if (!step(result, next)) break;
    }
    return result;
}

bool ListWalk::ends(Bytes rows, std::uint32_t max_rows, const Tortoise& tortoise,
                    WalkResult& result) const {
    const std::uint32_t row = result.node_count;
    if (is_end(result.next, row)) {
        result.stop = WalkStop::end;
        return true;
    }
    std::optional<std::uint32_t> seen = tortoise.meets(result.next, row);
    if (!seen && row < max_rows && !memory_.budget().exhausted()) return false;
    if (!seen) seen = last_row_of(rows, result);
    if (!seen) return true;  // the bound, as `result` began
    result.stop = WalkStop::cycle;
    cut_repetition(rows, *seen, row, result);
    return true;
}

std::optional<std::uint64_t> ListWalk::next_of(std::uint64_t link) {
    std::uint64_t next = 0;
    if (!memory_.read_field(link + extended(call_.next_offset), mutable_bytes_of(next)))
        return std::nullopt;
    return next;
}

bool ListWalk::step(WalkResult& result, std::optional<std::uint64_t> next) {
    if (!next) {
        // Again, to learn why; the guest may have mended it meanwhile.
        std::uint64_t again = 0;
        const ReadOutcome read = memory_.read_virtual(
            space_, result.next + extended(call_.next_offset), mutable_bytes_of(again));
        if (!read.complete()) {
            result.stop = WalkStop::fault;
            result.fault = read.fault;
            return false;
        }
        next = again;
    }
    result.next = *next;
    return true;
}

}  // namespace

OpResult walk(Memory& memory, Bytes arguments, WalkFields& fields, MutableBytes room) {
    auto list = ListWalk::from(memory, arguments, fields);
    if (!list) return {OpStatus::malformed};
    if (room.size() < sizeof(WalkResult) + list->row_size()) return {OpStatus::deferred};

    const MutableBytes rows = room.subspan(sizeof(WalkResult));
    const WalkResult result = list->run(rows);
    Writer{room}.put(result);
    return {result.stop == WalkStop::fault ? OpStatus::fault : OpStatus::ok,
            sizeof(WalkResult) + result.node_count * list->row_size()};
}

}  // namespace sgm::hypervisor
