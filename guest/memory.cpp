// SPDX-License-Identifier: MIT
#include "guest/memory.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "guest/text.hpp"

namespace sgm::guest {
namespace {

// How often an operation that did not begin, or a scan that goes on, is sent again. The
// hypervisor is trusted to make progress; this bounds us if it does not.
constexpr std::uint32_t kMaxContinuations = 1u << 16;
constexpr std::uint32_t kMaxStalls = 16;

constexpr std::size_t kCallHeader = sizeof(wire::OpCall);
constexpr std::size_t kReadAnswerHeader = sizeof(wire::OpAnswer) + sizeof(wire::ReadResult);

std::unexpected<Failure> fail(Error error, wire::Fault fault = {}) {
    return std::unexpected{Failure{error, fault}};
}

Error error_of(TransportError error) {
    switch (error) {
        case TransportError::refused: return Error::refused;
        case TransportError::unreachable: return Error::unreachable;
        case TransportError::too_large: return Error::too_large;
    }
    return Error::unreachable;
}

// For every status but ok.
Error error_of(wire::OpStatus status) {
    switch (status) {
        case wire::OpStatus::malformed: return Error::malformed_call;
        case wire::OpStatus::unsupported: return Error::unsupported;
        case wire::OpStatus::fault: return Error::fault;
        case wire::OpStatus::unreadable: return Error::unreadable;
        case wire::OpStatus::ok:
        case wire::OpStatus::deferred: break;
    }
    return Error::malformed_answer;
}

template <WireStruct T>
void append(std::vector<std::uint8_t>& bytes, const T& value) {
    const Bytes raw = bytes_of(value);
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

// What follows are `size` bytes of arguments.
void begin_call(std::vector<std::uint8_t>& calls, wire::Op op, std::size_t size) {
    append(calls, wire::OpCall{.op = static_cast<std::uint16_t>(op),
                               .reserved = 0,
                               .size = static_cast<std::uint32_t>(size)});
}

void append_call(std::vector<std::uint8_t>& calls, wire::Op op, Bytes arguments) {
    begin_call(calls, op, arguments.size());
    calls.insert(calls.end(), arguments.begin(), arguments.end());
    calls.resize(static_cast<std::size_t>(align8(calls.size())));
}

}  // namespace

std::string_view text(Error error) {
    switch (error) {
        case Error::refused: return text(TransportError::refused);
        case Error::unreachable: return text(TransportError::unreachable);
        case Error::too_large: return text(TransportError::too_large);
        case Error::malformed_answer: return "the hypervisor's answer does not fit the request";
        case Error::malformed_call: return "the hypervisor found the request malformed";
        case Error::unsupported: return "the hypervisor does not support this operation";
        case Error::unreadable: return "the domain's memory is encrypted or gone";
        case Error::fault: return "an address could not be read";
        case Error::cycle: return "a list runs in a circle that does not contain its head";
        case Error::too_long: return "a list is longer than its bound";
        case Error::implausible: return "the guest's memory holds impossible values";
        case Error::kernel_changed: return "the kernel is no longer where it was";
    }
    return "unknown";
}

std::string describe(const Failure& failure) {
    std::string sentence{text(failure.error)};
    const wire::Fault& fault = failure.fault;
    if (fault.kind == wire::FaultKind::none) return sentence;
    sentence += ": ";
    sentence += hex(fault.address);
    switch (fault.kind) {
        case wire::FaultKind::not_present:
            sentence += " is not present at level ";
            sentence += decimal(fault.level);
            break;
        case wire::FaultKind::not_canonical: sentence += " is not canonical"; break;
        case wire::FaultKind::outside_ram: sentence += " leads outside the guest's RAM"; break;
        case wire::FaultKind::reserved_bits:
            sentence += " has an impossible page-table entry at level ";
            sentence += decimal(fault.level);
            break;
        default: sentence += " failed in an unknown way"; break;
    }
    return sentence;
}

std::expected<std::vector<Memory::Result>, Failure> Memory::exchange(wire::Op op,
                                                                     std::uint32_t count,
                                                                     Bytes calls,
                                                                     Consistency consistency) {
    std::vector<std::uint8_t> batch;
    batch.reserve(sizeof(wire::BatchHeader) + calls.size());
    append(batch,
           wire::BatchHeader{.count = count,
                             .flags = consistency == Consistency::held
                                          ? static_cast<std::uint32_t>(wire::kBatchConsistent)
                                          : 0});
    batch.insert(batch.end(), calls.begin(), calls.end());
    if (batch.size() > wire::kMaxRequestSize) return fail(Error::too_large);

    const auto answer = transport_.exchange(batch);
    if (!answer) {
        lost_ = Failure{error_of(answer.error())};
        return std::unexpected{*lost_};
    }
    lost_.reset();
    ++exchanges_;

    Reader reader{*answer};
    const auto header = reader.take<wire::BatchAnswer>();
    if (!header || header->count != count) return fail(Error::malformed_answer);
    std::vector<Result> results;
    results.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto head = reader.take<wire::OpAnswer>();
        if (!head || head->op != static_cast<std::uint16_t>(op))
            return fail(Error::malformed_answer);
        const auto padded = reader.take_bytes(align8(head->size));
        if (!padded) return fail(Error::malformed_answer);
        results.push_back({static_cast<wire::OpStatus>(head->status), padded->first(head->size)});
    }
    if (!reader.empty()) return fail(Error::malformed_answer);
    clock_ = header->hypervisor_clock;
    return results;
}

std::expected<Bytes, Failure> Memory::exchange_one(wire::Op op, Bytes arguments,
                                                   Consistency consistency) {
    std::vector<std::uint8_t> calls;
    append_call(calls, op, arguments);
    const auto results = exchange(op, 1, calls, consistency);
    if (!results) return std::unexpected{results.error()};
    const Result& result = results->front();
    if (result.status != wire::OpStatus::ok) return fail(error_of(result.status));
    return result.bytes;
}

std::expected<Description, Failure> Memory::describe() {
    const auto answer = exchange_one(wire::Op::describe, {}, Consistency::live);
    if (!answer) return std::unexpected{answer.error()};
    Reader reader{*answer};
    const auto result = reader.take<wire::DescribeResult>();
    if (!result || result->range_count > wire::kMaxRamRanges) return fail(Error::malformed_answer);
    Description description{.result = *result, .ranges = {}};
    std::uint64_t end = 0;
    for (std::uint32_t i = 0; i < result->range_count; ++i) {
        const auto range = reader.take<wire::RamRange>();
        if (!range || range->start < end || range->size > ~std::uint64_t{0} - range->start)
            return fail(Error::malformed_answer);
        end = range->start + range->size;
        description.ranges.push_back(*range);
    }
    if (!reader.empty()) return fail(Error::malformed_answer);
    return description;
}

std::expected<wire::Registers, Failure> Memory::registers(std::uint32_t vcpu) {
    const wire::RegistersCall call{.vcpu = vcpu, .reserved = 0};
    const auto answer = exchange_one(wire::Op::registers, bytes_of(call), Consistency::live);
    if (!answer) return std::unexpected{answer.error()};
    Reader reader{*answer};
    const auto registers = reader.take<wire::Registers>();
    if (!registers || !reader.empty()) return fail(Error::malformed_answer);
    return *registers;
}

std::expected<void, Failure> Memory::read_each(std::span<ReadItem> items) {
    struct Chunk {
        std::size_t item;
        std::uint32_t size;
    };
    // Everything before items[next] is done; of items[next], `got` bytes are.
    std::size_t next = 0;
    for (ReadItem& item : items) {
        item.got = 0;
        item.fault = {};
    }
    std::vector<std::uint8_t> calls;
    std::vector<Chunk> chunks;
    for (std::uint32_t round = 0; round < kMaxContinuations; ++round) {
        calls.clear();
        chunks.clear();
        std::size_t room = wire::kMaxAnswerSize - sizeof(wire::BatchAnswer);
        const std::size_t max_calls =
            std::min<std::size_t>(wire::kMaxBatchOps, (wire::kMaxRequestSize - 64) /
                                                          (kCallHeader + sizeof(wire::ReadCall)));
        for (std::size_t i = next; i < items.size() && chunks.size() < max_calls; ++i) {
            const ReadItem& item = items[i];
            if (item.fault.kind != wire::FaultKind::none) continue;
            std::size_t at = item.got;
            while (at < item.out.size() && chunks.size() < max_calls &&
                   room >= kReadAnswerHeader + 8) {
                const std::size_t size =
                    std::min({item.out.size() - at, std::size_t{wire::kMaxReadSize},
                              (room - kReadAnswerHeader) & ~std::size_t{7}});
                const wire::ReadCall call{.root = item.space.root,
                                          .address = item.address + at,
                                          .size = static_cast<std::uint32_t>(size),
                                          .paging = item.space.paging};
                append_call(calls, wire::Op::read, bytes_of(call));
                chunks.push_back({i, call.size});
                room -= kReadAnswerHeader + static_cast<std::size_t>(align8(size));
                at += size;
            }
            if (at < item.out.size()) break;  // the batch is full
        }
        if (chunks.empty()) return {};

        const auto results = exchange(wire::Op::read, static_cast<std::uint32_t>(chunks.size()),
                                      calls, Consistency::live);
        if (!results) return std::unexpected{results.error()};
        bool progress = false;
        for (std::size_t i = 0; i < chunks.size(); ++i) {
            const Result& result = (*results)[i];
            ReadItem& item = items[chunks[i].item];
            if (item.fault.kind != wire::FaultKind::none) continue;  // broke in an earlier chunk
            if (result.status == wire::OpStatus::deferred) break;
            if (result.status != wire::OpStatus::ok && result.status != wire::OpStatus::fault)
                return fail(error_of(result.status));
            Reader reader{result.bytes};
            const auto head = reader.take<wire::ReadResult>();
            if (!head || head->size != reader.rest().size()) return fail(Error::malformed_answer);
            const bool whole = result.status == wire::OpStatus::ok;
            if (whole ? head->size != chunks[i].size
                      : head->size >= chunks[i].size || head->fault.kind == wire::FaultKind::none)
                return fail(Error::malformed_answer);
            if (head->size != 0)
                std::memcpy(item.out.data() + item.got, reader.rest().data(), head->size);
            item.got += head->size;
            if (!whole) item.fault = head->fault;
            progress = true;
        }
        if (!progress) return fail(Error::malformed_answer);
        while (next < items.size() && (items[next].got == items[next].out.size() ||
                                       items[next].fault.kind != wire::FaultKind::none))
            ++next;
    }
    return fail(Error::malformed_answer);
}

std::expected<void, Failure> Memory::read(AddressSpace space, std::uint64_t address,
                                          MutableBytes out) {
    ReadItem item{.space = space, .address = address, .out = out};
    if (auto done = read_each({&item, 1}); !done) return done;
    if (item.got != out.size()) return fail(Error::fault, item.fault);
    return {};
}

std::expected<Matches, Failure> Memory::search(const SearchPlan& plan) {
    Matches matches{.addresses = {}, .complete = true};
    if (plan.pattern.empty() || plan.pattern.size() > wire::kMaxPatternSize)
        return fail(Error::malformed_call);
    wire::SearchCall call{.start = plan.start,
                          .end = plan.end,
                          .alignment = plan.alignment,
                          .max_matches = 0,
                          .pattern_size = static_cast<std::uint32_t>(plan.pattern.size()),
                          .reserved = 0,
                          .pattern = {}};
    std::copy(plan.pattern.begin(), plan.pattern.end(), call.pattern.begin());
    std::uint32_t stalled = 0;
    for (std::uint32_t round = 0; round < kMaxContinuations && call.start < plan.end; ++round) {
        const std::size_t room = plan.max_matches - matches.addresses.size();
        if (room == 0) {
            matches.complete = false;
            return matches;
        }
        call.max_matches =
            static_cast<std::uint32_t>(std::min<std::size_t>(room, wire::kMaxSearchMatches));
        std::vector<std::uint8_t> calls;
        append_call(calls, wire::Op::search, bytes_of(call));
        const auto results = exchange(wire::Op::search, 1, calls, Consistency::live);
        if (!results) return std::unexpected{results.error()};
        const Result& result = results->front();
        if (result.status == wire::OpStatus::deferred && ++stalled < kMaxStalls) continue;
        if (result.status != wire::OpStatus::ok) return fail(error_of(result.status));
        Reader reader{result.bytes};
        const auto head = reader.take<wire::SearchResult>();
        if (!head || head->count > call.max_matches || head->next < call.start ||
            head->next > plan.end || reader.rest().size() != std::size_t{head->count} * 8)
            return fail(Error::malformed_answer);
        for (std::uint32_t i = 0; i < head->count; ++i) {
            const auto address = reader.take<std::uint64_t>();
            if (!address || *address < call.start || *address >= head->next ||
                (!matches.addresses.empty() && *address <= matches.addresses.back()))
                return fail(Error::malformed_answer);
            matches.addresses.push_back(*address);
        }
        if (head->next == call.start && ++stalled >= kMaxStalls)
            return fail(Error::malformed_answer);
        call.start = head->next;
    }
    if (call.start < plan.end) return fail(Error::malformed_answer);
    return matches;
}

std::expected<Walk, Failure> Memory::walk(const WalkPlan& plan) {
    std::size_t row_size = sizeof(wire::WalkRow);
    for (const wire::FieldPath& field : plan.fields) {
        if (field.size > wire::kMaxFieldSize) return fail(Error::malformed_call);
        row_size += field.size;
    }
    row_size = static_cast<std::size_t>(align8(row_size));
    const std::size_t max_nodes = std::min<std::size_t>(plan.max_nodes, kMaxWalkBytes / row_size);

    wire::WalkCall call{.root = plan.space.root,
                        .first = plan.first,
                        .head = plan.head,
                        .link_offset = plan.link_offset,
                        .next_offset = plan.next_offset,
                        .max_nodes = 0,
                        .paging = plan.space.paging,
                        .shape = plan.shape,
                        .field_count = static_cast<std::uint32_t>(plan.fields.size())};
    Walk walk;
    walk.row_size = static_cast<std::uint32_t>(row_size);
    std::uint32_t stalled = 0;
    for (std::uint32_t round = 0; round < kMaxContinuations; ++round) {
        if (walk.node_count >= max_nodes) {
            walk.stop = wire::WalkStop::bound;
            return walk;
        }
        call.max_nodes = static_cast<std::uint32_t>(
            std::min<std::size_t>(max_nodes - walk.node_count, wire::kMaxWalkNodes));
        static_assert((sizeof call + sizeof(wire::FieldPath)) % 8 == 0);
        const std::size_t size = sizeof call + plan.fields.size_bytes();
        std::vector<std::uint8_t> calls;
        calls.reserve(kCallHeader + size);  // at once: a list is taken often
        begin_call(calls, wire::Op::walk, size);
        append(calls, call);
        for (const wire::FieldPath& field : plan.fields)
            append(calls, field);
        const auto results = exchange(wire::Op::walk, 1, calls, plan.consistency);
        if (!results) return std::unexpected{results.error()};
        const Result& result = results->front();
        if (result.status == wire::OpStatus::deferred && ++stalled < kMaxStalls) continue;
        if (result.status != wire::OpStatus::ok && result.status != wire::OpStatus::fault)
            return fail(error_of(result.status));
        Reader reader{result.bytes};
        const auto head = reader.take<wire::WalkResult>();
        if (!head || head->row_size != row_size || head->node_count > call.max_nodes ||
            reader.rest().size() != std::size_t{head->node_count} * row_size)
            return fail(Error::malformed_answer);
        walk.rows = reader.rest();
        if (walk.node_count != 0 || head->stop == wire::WalkStop::bound) {
            walk.kept.insert(walk.kept.end(), walk.rows.begin(), walk.rows.end());
            walk.rows = walk.kept;
        }
        walk.node_count += head->node_count;
        walk.stop = head->stop;
        walk.fault = head->fault;
        switch (head->stop) {
            case wire::WalkStop::end:
            case wire::WalkStop::cycle:
            case wire::WalkStop::fault: return walk;
            case wire::WalkStop::bound:
                if (head->node_count == 0) return fail(Error::malformed_answer);
                call.first = head->next;
                continue;
        }
        return fail(Error::malformed_answer);
    }
    return fail(Error::malformed_answer);
}

}  // namespace sgm::guest
