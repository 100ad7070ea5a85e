// SPDX-License-Identifier: MIT
#include "tests/relay/script.hpp"

#include <array>
#include <string_view>

namespace sgm::relay {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::SyntheticGuest;

// Where nothing lies by chance: an address is found by its eight bytes.
constexpr std::uint64_t kHighRam = 0x5'4321'0000;
constexpr std::uint64_t kHighSize = 0x10000;
constexpr std::uint64_t kText = 0xffff'8881'2345'6000;   // guest-virtual, one page
constexpr std::uint64_t kNodes = 0xffff'8881'2345'7000;  // guest-virtual, one page
constexpr std::uint64_t kUnmapped = 0xffff'8881'2345'8000;
constexpr std::uint64_t kNodeSize = 0x100;
constexpr std::int32_t kName = 16;  // of a node, from its link
constexpr std::string_view kSecret = "a-name-nobody-may-see";
constexpr std::array<std::string_view, 3> kNames = {"first-secret-one", "second-secret-on",
                                                    "third-secret-one"};

Bytes bytes_of_text(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::uint64_t node(std::size_t number) {
    return kNodes + number * kNodeSize;
}

Message walk(const SyntheticGuest& guest, wire::ListShape shape) {
    const bool circular = shape == wire::ListShape::circular;
    return BatchBuilder{}
        .walk({.root = guest.root(),
               .first = node(0),
               .head = circular ? node(0) : 0,
               .link_offset = 0,
               .next_offset = circular ? 0 : 8,
               .max_nodes = 8,
               .paging = guest.paging(),
               .shape = shape,
               .field_count = 0},
              {{.size = 16, .hop_count = 0, .offsets = {kName}, .reserved = 0}})
        .bytes();
}

}  // namespace

void furnish(SyntheticGuest& guest, Leaks& leaks) {
    guest.add_ram(kHighRam, kHighSize);
    guest.map(kText, kHighRam);
    guest.map(kNodes, kHighRam + 0x1000);
    guest.write_virtual(kText, bytes_of_text(kSecret));
    leaks.add(kSecret.substr(0, 8));
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        guest.write_virtual(node(i) + kName, bytes_of_text(kNames.at(i)));
        guest.write_virtual_u64(node(i), node((i + 1) % kNames.size()));
        guest.write_virtual_u64(node(i) + 8, i + 1 < kNames.size() ? node(i + 1) : 0);
        leaks.add(kNames.at(i).substr(0, 8));
        leaks.add_address(node(i));
    }
    wire::Registers& registers = guest.vcpus.front();
    registers.valid = wire::kRegCr0 | wire::kRegCr3 | wire::kRegLstar;
    registers.cr0 = 0x8005'0033;
    registers.cr3 = guest.root();
    registers.lstar = 0xffff'ffff'9ab0'0040;
    for (const std::uint64_t address : {kHighRam, kText, kUnmapped, guest.root(), registers.lstar})
        leaks.add_address(address);
}

std::vector<Step> conversation(const SyntheticGuest& guest) {
    const auto at = [&](std::uint64_t address, std::uint32_t size) {
        return BatchBuilder{}.read(guest.root(), guest.paging(), address, size).bytes();
    };
    const Message describe = BatchBuilder{}.describe().bytes();
    const Message registers = BatchBuilder{}.registers(0).bytes();
    const Message text = at(kText, static_cast<std::uint32_t>(kSecret.size()));
    const Message physical = BatchBuilder{}.read(0, wire::Paging::physical, kHighRam, 8).bytes();
    const Message fault = at(kUnmapped, 8);
    const Message search =
        BatchBuilder{}
            .search(hypervisor::testing::search_for(kSecret, kHighRam, kHighRam + kHighSize))
            .bytes();
    const Message list = walk(guest, wire::ListShape::circular);
    const Message chain = walk(guest, wire::ListShape::null);
    const Message held =
        BatchBuilder{wire::kBatchConsistent}.read(guest.root(), guest.paging(), kText, 8).bytes();
    const Message several = BatchBuilder{}.registers(0).registers(7).describe().bytes();

    std::vector<Step> steps;
    const auto add_session = [&](const std::vector<Message>& batches) {
        steps.push_back({.registers_anew = true, .batch = {}});
        for (const Message& batch : batches)
            steps.push_back({.registers_anew = false, .batch = batch});
    };
    add_session({describe, registers, search, text, physical, list, held, fault, chain, several});
    add_session({list, describe, text, search, registers, physical, chain, fault, held, list});
    add_session({registers, held, text, describe, list, search, physical, chain});
    return steps;
}

}  // namespace sgm::relay
