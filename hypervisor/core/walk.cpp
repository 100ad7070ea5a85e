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

// Parts of a node that lie so close together are looked for as one: the larger, the fewer there
// are, but the more of them cross the end of a page, and are then read one by one.
constexpr std::int64_t kMaxStretch = 1024;  // bytes

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

// Where in a node the fields begin: planned once, and the same in every node.
class NodePlan final {
  public:
    // What the node itself has of a field: all of it, or the pointer that its way begins with.
    struct Piece {
        std::uint16_t offset;  // in its stretch
        std::uint16_t in_row;  // of the field, from the row's begin
        std::uint8_t stretch;  // index
        bool is_pointer;
    };
    struct Stretch {
        std::int64_t begin;  // offset in the node
        std::int64_t end;
    };

    explicit NodePlan(std::span<const FieldPath> fields) {
        std::size_t in_row = sizeof(WalkRow);
        for (std::size_t i = 0; i < fields.size(); in_row += fields[i++].size) {
            pieces_[i] = {.offset = 0,
                          .in_row = static_cast<std::uint16_t>(in_row),
                          .stretch = stretch_for(fields[i]),
                          .is_pointer = fields[i].hop_count != 0};
        }
        // Only now it is known where each stretch begins.
        for (std::size_t i = 0; i < fields.size(); ++i) {
            const std::int64_t begin = stretches_[pieces_[i].stretch].begin;
            pieces_[i].offset = static_cast<std::uint16_t>(fields[i].offsets[0] - begin);
        }
    }
    [[nodiscard]] std::span<const Stretch> stretches() const {
        return std::span{stretches_}.first(stretch_count_);
    }
    // Of field `index`.
    [[nodiscard]] const Piece& piece(std::size_t index) const { return pieces_[index]; }

  private:
    // The one that it fits into, made larger for it; otherwise a new one.
    std::uint8_t stretch_for(const FieldPath& field) {
        const std::int64_t begin = field.offsets[0];
        const std::int64_t end = begin + std::int64_t{field.hop_count != 0 ? 8 : field.size};
        for (std::uint8_t i = 0; i < stretch_count_; ++i) {
            Stretch& known = stretches_[i];
            const Stretch both{std::min(begin, known.begin), std::max(end, known.end)};
            if (both.end - both.begin > kMaxStretch) continue;
            known = both;
            return i;
        }
        stretches_[stretch_count_] = {begin, end};
        return stretch_count_++;
    }

    std::array<Piece, wire::kMaxWalkFields> pieces_;
    std::array<Stretch, wire::kMaxWalkFields> stretches_;  // no more than fields
    std::uint8_t stretch_count_ = 0;
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
        : memory_{memory}, call_{call}, space_{space}, fields_{fields}, row_size_{row_size} {}

    [[nodiscard]] bool is_end(std::uint64_t link, std::uint32_t nodes_before) const;
    [[nodiscard]] std::optional<std::uint64_t> next_of(std::uint64_t link);
    // Whether no row comes at `result.next`; `result` says then how the walk ended.
    [[nodiscard]] bool ends(Bytes rows, std::uint32_t max_rows, const Tortoise& tortoise,
                            WalkResult& result) const;
    // To the next link, `next` when it was read; false: `result` has the fault that ends the walk.
    [[nodiscard]] bool step(WalkResult& result, std::optional<std::uint64_t> next);
    void prefetch(std::uint64_t link);
    void write_row(const NodePlan& plan, std::uint64_t link, MutableBytes row);
    // A field's way from its first pointer on, which lies at `place` in our own memory.
    [[nodiscard]] Field follow_from(const std::uint8_t* place, const FieldPath& field,
                                    MutableBytes out);
    // A field's way from `address` and its pointer number `hop` on.
    [[nodiscard]] Field follow(std::uint64_t address, std::uint32_t hop, const FieldPath& field,
                               MutableBytes out);
    [[nodiscard]] std::uint64_t node_of(Bytes rows, std::uint32_t row) const;
    [[nodiscard]] std::optional<std::uint32_t> last_row_of(Bytes rows,
                                                           const WalkResult& result) const;
    void cut_repetition(Bytes rows, std::uint32_t tortoise, std::uint32_t hare,
                        WalkResult& result) const;

    Memory& memory_;
    WalkCall call_;
    AddressSpace space_;
    std::span<const FieldPath> fields_;  // checked
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

Field ListWalk::follow_from(const std::uint8_t* place, const FieldPath& field, MutableBytes out) {
    std::uint64_t pointer = 0;
    memory_.read_view(place, mutable_bytes_of(pointer));
    return pointer == 0 ? Field::null : follow(pointer, 1, field, out);
}

Field ListWalk::follow(std::uint64_t address, std::uint32_t hop, const FieldPath& field,
                       MutableBytes out) {
    for (; hop < field.hop_count; ++hop) {
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
    for (const FieldPath& field : fields_)
        memory_.prefetch_field(node + extended(field.offsets[0]));
}

void ListWalk::write_row(const NodePlan& plan, std::uint64_t link, MutableBytes row) {
    WalkRow header{.node = link - extended(call_.link_offset), .bad_fields = 0, .null_fields = 0};
    std::array<const std::uint8_t*, wire::kMaxWalkFields> places;  // of the stretches
    std::size_t known = 0;
    for (const auto& [begin, end] : plan.stretches())
        places[known++] = memory_.view(header.node + static_cast<std::uint64_t>(begin),
                                       static_cast<std::size_t>(end - begin));
    // The padding; a field may yet write there.
    std::memset(row.last(sizeof(std::uint64_t)).data(), 0, sizeof(std::uint64_t));
    for (std::uint32_t i = 0; i < fields_.size(); ++i) {
        const FieldPath& field = fields_[i];
        const NodePlan::Piece& piece = plan.piece(i);
        const std::uint8_t* const place = places[piece.stretch];
        const MutableBytes out = row.subspan(piece.in_row, field.size);
        if (place != nullptr && !piece.is_pointer) {
            memory_.read_view(place + piece.offset, out);
            continue;
        }
        const Field outcome = place != nullptr ? follow_from(place + piece.offset, field, out)
                                               : follow(header.node, 0, field, out);
        if (outcome == Field::read) continue;
        header.bad_fields |= 1u << i;
        if (outcome == Field::null) header.null_fields |= 1u << i;
        std::memset(out.data(), 0, out.size());
    }
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
    const NodePlan plan{fields_};

    Tortoise tortoise;
    while (!ends(rows, max_rows, tortoise, result)) {
        const std::uint32_t row = result.node_count;
        // First, so that the next node is under way while this one's fields are read.
        const auto next = next_of(result.next);
        if (next && row >= kPrefetchFrom) prefetch(*next);
        write_row(plan, result.next, rows.subspan(row * row_size_, row_size_));
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
