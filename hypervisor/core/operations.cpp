// SPDX-License-Identifier: MIT
#include "hypervisor/core/operations.hpp"

#include <algorithm>

#include "hypervisor/core/budget.hpp"
#include "hypervisor/core/memory.hpp"
#include "hypervisor/core/op_result.hpp"

namespace sgm::hypervisor {
namespace {

using wire::OpStatus;

struct Call {
    wire::OpCall header;
    Bytes arguments;
};

// The next operation of a batch, its padding skipped; nullopt when it is cut short.
std::optional<Call> take_call(Reader& reader) {
    const auto header = reader.take<wire::OpCall>();
    if (!header) return std::nullopt;
    const auto padded = reader.take_bytes(align8(header->size));
    if (!padded) return std::nullopt;
    return Call{*header, padded->first(header->size)};
}

// The whole batch is checked before anything of it is done.
std::optional<wire::BatchHeader> check_frame(Bytes batch) {
    if (batch.size() > wire::kMaxRequestSize) return std::nullopt;
    Reader reader{batch};
    const auto header = reader.take<wire::BatchHeader>();
    if (!header || header->count > wire::kMaxBatchOps) return std::nullopt;
    if ((header->flags & ~std::uint32_t{wire::kBatchConsistent}) != 0) return std::nullopt;
    for (std::uint32_t i = 0; i < header->count; ++i) {
        if (!take_call(reader)) return std::nullopt;
    }
    if (!reader.empty()) return std::nullopt;
    return header;
}

OpResult describe(Port& port, Domain& domain, Bytes arguments, MutableBytes room) {
    if (!arguments.empty()) return {OpStatus::malformed};
    const auto ranges = domain.ram_ranges();
    const auto count = std::min<std::size_t>(ranges.size(), wire::kMaxRamRanges);
    Writer result{room};
    result.put(wire::DescribeResult{.domain = domain.uuid(),
                                    .epoch = domain.epoch(),
                                    .hypervisor_clock = port.now_ns(),
                                    .vcpu_count = domain.vcpu_count(),
                                    .readability = domain.readability(),
                                    .protection = domain.protection(),
                                    .range_count = static_cast<std::uint32_t>(count)});
    for (const wire::RamRange& range : ranges.first(count))
        result.put(range);
    if (!result.ok()) return {OpStatus::deferred};
    return {OpStatus::ok, result.size()};
}

OpResult registers(Memory& memory, Bytes arguments, MutableBytes room) {
    Domain& domain = memory.domain();
    Reader reader{arguments};
    const auto call = reader.take<wire::RegistersCall>();
    if (!call || !reader.empty() || call->reserved != 0 || call->vcpu >= domain.vcpu_count()) {
        return {OpStatus::malformed};
    }
    if (room.size() < sizeof(wire::Registers)) return {OpStatus::deferred};
    memory.budget().spend_registers();
    const auto values = domain.registers(call->vcpu);
    if (!values) return {OpStatus::unsupported};
    Writer result{room};
    result.put(*values);
    return {OpStatus::ok, result.size()};
}

OpResult read(Memory& memory, Bytes arguments, MutableBytes room) {
    Reader reader{arguments};
    const auto call = reader.take<wire::ReadCall>();
    if (!call || !reader.empty() || call->size < 1 || call->size > wire::kMaxReadSize) {
        return {OpStatus::malformed};
    }
    const bool is_physical = call->root == 0 && call->paging == wire::Paging::physical;
    const auto space = AddressSpace::from(call->root, call->paging);
    if (!is_physical && !space) return {OpStatus::malformed};
    if (room.size() < sizeof(wire::ReadResult) + call->size) return {OpStatus::deferred};

    const MutableBytes out = room.subspan(sizeof(wire::ReadResult), call->size);
    const ReadOutcome outcome = is_physical ? memory.read_physical(call->address, out)
                                            : memory.read_virtual(*space, call->address, out);
    Writer result{room};
    result.put(wire::ReadResult{
        .fault = outcome.fault, .size = static_cast<std::uint32_t>(outcome.size), .reserved = 0});
    return {outcome.complete() ? OpStatus::ok : OpStatus::fault, result.size() + outcome.size};
}

OpResult read_memory(Memory& memory, const Call& call, Scratch& scratch, MutableBytes room) {
    if (memory.domain().readability() != wire::Readability::readable) {
        return {OpStatus::unreadable};
    }
    const OpResult result = [&] {
        switch (static_cast<wire::Op>(call.header.op)) {
            case wire::Op::read: return read(memory, call.arguments, room);
            case wire::Op::search:
                return search(memory, call.arguments, scratch.search_window, room);
            default: return walk(memory, call.arguments, scratch.walk_fields, room);
        }
    }();
    // What was read in place while the memory went away is nothing that the guest had.
    if (memory.domain().readability() != wire::Readability::readable) {
        return {OpStatus::unreadable};
    }
    return result;
}

OpResult run(Port& port, Memory& memory, const Call& call, Scratch& scratch, MutableBytes room) {
    if (call.header.reserved != 0) return {OpStatus::malformed};
    if (memory.budget().exhausted()) return {OpStatus::deferred};
    switch (static_cast<wire::Op>(call.header.op)) {
        case wire::Op::describe: return describe(port, memory.domain(), call.arguments, room);
        case wire::Op::registers: return registers(memory, call.arguments, room);
        case wire::Op::read:
        case wire::Op::search:
        case wire::Op::walk: return read_memory(memory, call, scratch, room);
    }
    return {OpStatus::unsupported};
}

constexpr std::uint64_t kNever = ~std::uint64_t{0};

std::uint64_t latest_end(Port& port) {
    const std::uint64_t longest = port.max_batch_ns();
    return longest == kNever ? kNever : port.now_ns() + longest;
}

// The vCPUs' stay, from construction to release(). Without kBatchConsistent it is none.
class Hold final {
  public:
    Hold(Port& port, Domain& domain, bool wanted) : port_{port}, domain_{domain} {
        if (!wanted || !domain.hold()) return;
        held_ = true;
        since_ = port.now_ns();
    }
    ~Hold() {
        if (held_) domain_.release();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    [[nodiscard]] bool held() const { return held_; }
    [[nodiscard]] std::uint64_t deadline() const { return held_ ? since_ + kMaxHoldNs : kNever; }

    // For how long they stood still, nullopt when they did not all the time.
    [[nodiscard]] std::optional<std::uint64_t> release() {
        if (!held_) return std::nullopt;
        held_ = false;
        const std::uint64_t until = port_.now_ns();
        if (!domain_.release()) return std::nullopt;
        return until - since_;
    }

  private:
    Port& port_;
    Domain& domain_;
    std::uint64_t since_ = 0;
    bool held_ = false;
};

}  // namespace

std::optional<std::size_t> Operations::execute(Domain& domain, Bytes batch, MutableBytes answer) {
    const auto frame = check_frame(batch);
    if (!frame) return std::nullopt;
    answer = answer.first(std::min<std::size_t>(answer.size(), wire::kMaxAnswerSize));
    const std::size_t headers_size =
        sizeof(wire::BatchAnswer) + frame->count * sizeof(wire::OpAnswer);
    if (answer.size() < headers_size) return std::nullopt;

    Budget budget{port_};
    translator_.forget(domain.address_format());
    views_.forget();
    Memory memory{domain, translator_, views_, budget};
    Hold hold{port_, domain, (frame->flags & wire::kBatchConsistent) != 0};
    const std::uint64_t deadline = std::min(latest_end(port_), hold.deadline());
    if (deadline != kNever) budget.end_at(deadline);

    Reader calls{batch.subspan(sizeof(wire::BatchHeader))};
    Writer results{answer.subspan(sizeof(wire::BatchAnswer))};
    // What is left when every operation has its header: multiples of 8, so padding fits.
    std::size_t room = (answer.size() - headers_size) & ~std::size_t{7};
    for (std::uint32_t i = 0; i < frame->count; ++i) {
        const auto call = take_call(calls);
        if (!call) return std::nullopt;  // never: check_frame has seen it
        const MutableBytes header = results.reserve(sizeof(wire::OpAnswer));
        const OpResult result =
            run(port_, memory, *call, scratch_,
                answer.subspan(sizeof(wire::BatchAnswer) + results.size(), room));
        Writer{header}.put(wire::OpAnswer{.op = call->header.op,
                                          .status = static_cast<std::uint16_t>(result.status),
                                          .size = static_cast<std::uint32_t>(result.size)});
        const std::size_t padded = align8(result.size);
        const MutableBytes body = results.reserve(padded);
        std::memset(body.subspan(result.size).data(), 0, padded - result.size);
        room -= padded;
    }

    const auto held_ns = hold.release();
    Writer{answer}.put(
        wire::BatchAnswer{.hypervisor_clock = port_.now_ns(),
                          .held_ns = held_ns.value_or(0),
                          .count = frame->count,
                          .flags = held_ns ? std::uint32_t{wire::kBatchConsistent} : 0});
    return sizeof(wire::BatchAnswer) + results.size();
}

}  // namespace sgm::hypervisor
