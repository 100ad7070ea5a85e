// SPDX-License-Identifier: MIT
// The hypervisor is trusted, its answers are parsed as if it were not: any bytes in their place are
// a value that fits what was asked, or an error.
#include "fuzz/target.hpp"
#include "guest/linux/kernel.hpp"
#include "guest/memory.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"

namespace sgm::fuzz {
namespace {

class AnyAnswer final : public guest::Transport {
  public:
    explicit AnyAnswer(Bytes input) : choices_{input} {}

    std::expected<Bytes, guest::TransportError> exchange(Bytes batch) override {
        if (choices_.empty()) return std::unexpected{guest::TransportError::unreachable};
        const auto asked = Reader{batch}.take<wire::BatchHeader>().value_or(wire::BatchHeader{});
        const bool is_framed = choices_.byte() % 4 != 0;
        Recorder answer;
        if (is_framed)
            frame(answer, asked.count);
        else
            answer.put_bytes(choices_.bytes(choices_.take<std::uint16_t>()));
        answer_ = answer.octets();
        return Bytes{answer_};
    }

  private:
    // As many results as were asked for, of any content.
    void frame(Recorder& answer, std::uint32_t count) {
        answer.put(wire::BatchAnswer{
            .hypervisor_clock = 1, .held_ns = 0, .count = count, .flags = choices_.byte() % 2u});
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto op = static_cast<std::uint16_t>(1 + choices_.byte() % 5);
            const auto status = static_cast<std::uint16_t>(choices_.byte() % 7);
            const Bytes body = choices_.bytes(choices_.take<std::uint16_t>());
            answer.put(wire::OpAnswer{
                .op = op, .status = status, .size = static_cast<std::uint32_t>(body.size())});
            answer.put_bytes(body).put_bytes(Octets(align8(body.size()) - body.size()));
        }
    }

    Choices choices_;
    Octets answer_;
};

void walk(guest::Memory& memory) {
    const std::array<wire::FieldPath, 2> fields{
        {{.size = 16, .hop_count = 0, .offsets = {}, .reserved = 0},
         {.size = 5, .hop_count = 1, .offsets = {8, 0}, .reserved = 0}}};
    const auto list = memory.walk({.space = {0x1000, wire::Paging::four_level},
                                   .first = 0x8000,
                                   .head = 0x8000,
                                   .link_offset = 0,
                                   .next_offset = 0,
                                   .shape = wire::ListShape::circular,
                                   .fields = fields,
                                   .max_nodes = 100,
                                   .consistency = guest::Consistency::live});
    if (!list) return;
    check(list->node_count <= 100, "a walk has at most as many nodes as were asked for");
    check(list->rows.size() == std::size_t{list->node_count} * list->row_size,
          "a walk has the rows that it says");
}

}  // namespace

void run(Bytes input) {
    Choices choices{input};
    const std::uint8_t what = choices.byte() % 6;
    AnyAnswer transport{choices.rest()};
    guest::Memory memory{transport};
    std::array<std::uint8_t, 100> first{};
    std::array<std::uint8_t, 5000> second{};
    std::array<guest::ReadItem, 2> items{
        {{.space = guest::kPhysical, .address = 0x1000, .out = first},
         {.space = {0x1000, wire::Paging::five_level}, .address = 8, .out = second}}};
    switch (what) {
        case 0:
            if (const auto vm = memory.describe())
                check(vm->ranges.size() <= wire::kMaxRamRanges, "ranges keep to their bound");
            break;
        case 1: static_cast<void>(memory.registers(0)); break;
        case 2:
            static_cast<void>(memory.read_each(items));
            for (const auto& item : items)
                check(item.got <= item.out.size(), "no more is read than there is room for");
            break;
        case 3: {
            const auto matches = memory.search({.pattern = Bytes{first}.first(8),
                                                .alignment = 8,
                                                .start = 0x1000,
                                                .end = 0x100000,
                                                .max_matches = 50});
            if (matches) check(matches->addresses.size() <= 50, "matches keep to their bound");
            break;
        }
        case 4: walk(memory); break;
        default: static_cast<void>(guest::Kernel::attach(memory));
    }
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    const wire::WalkResult walk{.stop = wire::WalkStop::end,
                                .node_count = 1,
                                .next = 0x8000,
                                .fault = {},
                                .row_size = 40,
                                .reserved = 0};
    const wire::ReadResult read{.fault = {}, .size = 100, .reserved = 0};
    const wire::SearchResult search{.next = 0x100000, .count = 1, .reserved = 0};
    const wire::DescribeResult vm{.domain = {},
                                  .epoch = 1,
                                  .hypervisor_clock = 1,
                                  .vcpu_count = 1,
                                  .readability = wire::Readability::readable,
                                  .protection = wire::Protection::unprotected,
                                  .range_count = 1};
    const auto seed = [&](std::uint8_t what, wire::Op op, Bytes head, std::size_t rest) {
        Recorder record;
        record.put(what).put(std::uint8_t{1}).put(std::uint8_t{0});
        for (int i = 0; i < 2; ++i) {
            record.put(static_cast<std::uint8_t>(static_cast<std::uint16_t>(op) - 1));
            record.put(std::uint8_t{0}).put(static_cast<std::uint16_t>(head.size() + rest));
            record.put_bytes(head).put_bytes(Octets(rest, 0x10));
        }
        result.push_back(record.octets());
    };
    seed(0, wire::Op::describe, bytes_of(vm), sizeof(wire::RamRange));
    seed(1, wire::Op::registers, {}, sizeof(wire::Registers));
    seed(2, wire::Op::read, bytes_of(read), 100);
    seed(3, wire::Op::search, bytes_of(search), 8);
    seed(4, wire::Op::walk, bytes_of(walk), 40);
    seed(5, wire::Op::describe, bytes_of(vm), sizeof(wire::RamRange));
    return result;
}

}  // namespace sgm::fuzz
