// SPDX-License-Identifier: MIT
// An approved IDS gone bad: any plaintext, correctly sealed, through the whole core, against a
// guest whose lists and tables are partly garbage. Never a read outside the domain's RAM, never
// more work than the bound of a call, never an answer beyond its size, and vCPUs are let go.
#include <array>

#include "crypto/keys.hpp"
#include "fuzz/target.hpp"
#include "hypervisor/core/budget.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/machine.hpp"

namespace sgm::fuzz {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::ClientSession;
using hypervisor::testing::SyntheticGuest;

constexpr std::uint64_t kRam = 8ull << 20;
constexpr std::uint64_t kHighRam = 1ull << 32;
constexpr std::uint64_t kHeap = 0xffff'8880'0000'0000;
constexpr std::uint64_t kHeapSize = 64 * 4096;
constexpr std::uint64_t kNode = 256;
constexpr std::uint64_t kAboveBudget = 2000;  // what has begun is finished: budget.hpp

// What a bad requester would try: what is there, and the edges of everything.
constexpr std::array<std::uint64_t, 16> kValues = {kHeap,
                                                   kHeap + kNode,
                                                   kHeap + 7 * kNode,
                                                   kHeap + kHeapSize - 4,
                                                   kHeap + kHeapSize,
                                                   0,
                                                   1,
                                                   kRam - 8,
                                                   kRam,
                                                   kHighRam,
                                                   ~0ull,
                                                   ~0ull - 7,
                                                   1ull << 47,
                                                   0xfee0'0000,
                                                   kHighRam + 4096 - 1,
                                                   1ull << 52};

struct World {
    SyntheticGuest guest{kRam};
    crypto::SigningKeyPair authority =
        crypto::SigningKeyPair::from_seed(std::array<std::uint8_t, 32>{1});
    std::unique_ptr<hypervisor::testing::Machine> machine =
        hypervisor::testing::make_machine({&guest}, authority.public_key());
    std::unique_ptr<ClientSession> session;

    World() {
        guest.add_ram(kHighRam, 4096);
        guest.vcpus.resize(2);
        guest.vcpus[1].valid = wire::kRegCr3;
        guest.map_new(kHeap, kHeapSize);
        std::vector<std::uint64_t> links;
        for (std::uint64_t i = 0; i < kHeapSize / kNode; ++i)
            links.push_back(kHeap + i * 7 % (kHeapSize / kNode) * kNode);
        guest.link(links, links.front());
        // Pointers behind each link: to nodes, to nothing, to what is not RAM.
        for (std::uint64_t i = 0; i < links.size(); ++i)
            guest.write_virtual_u64(kHeap + i * kNode + 8, kValues[i % kValues.size()]);
        // The second half of the heap is what a guest does on purpose.
        const std::uint64_t table = guest.entry(kHeap, 1);
        for (std::uint64_t page = 32; page < 64; ++page)
            guest.write_u64(table + page * 8,
                            kValues[page % kValues.size()] << (page % 3 * 12) | 1);
        guest.write_u64(guest.entry(kHeap + (2ull << 20), 2), (kRam - (2ull << 20)) | 0x83);
        guest.write_u64(guest.entry(kHeap + (4ull << 20), 2), guest.root() | 1);
        guest.write_u64(guest.entry(kHeap + (1ull << 30), 3), 0x83);  // a GiB over 8 MiB of RAM
    }
};

std::uint64_t value_from(Choices& choices) {
    const std::uint8_t kind = choices.byte();
    if (kind % 8 == 7) return choices.take<std::uint64_t>();
    return kValues[kind % kValues.size()] + choices.byte() * 8;
}

// Mostly the guest's own tables: what has none of them ends at once.
std::pair<std::uint64_t, wire::Paging> space_from(Choices& choices, const SyntheticGuest& guest) {
    switch (choices.byte() % 8) {
        case 5: return {0, wire::Paging::physical};
        case 6: return {guest.root(), wire::Paging::five_level};
        case 7: return {value_from(choices), static_cast<wire::Paging>(choices.byte() % 7)};
        default: return {guest.root(), guest.paging()};
    }
}

void add_walk(Choices& choices, const SyntheticGuest& guest, BatchBuilder& batch) {
    const auto [root, paging] = space_from(choices, guest);
    std::vector<wire::FieldPath> fields;
    for (std::uint32_t i = choices.below(18); i > 0; --i) {
        wire::FieldPath path{.size = choices.below(260),
                             .hop_count = choices.byte() % 6u,
                             .offsets = {},
                             .reserved = 0};
        for (auto& offset : path.offsets)
            offset =
                choices.byte() % 8 == 7 ? choices.take<std::int32_t>() : choices.byte() % 32 * 8;
        fields.push_back(path);
    }
    const std::uint64_t first = value_from(choices);
    const std::uint64_t head = choices.byte() % 2 == 0 ? first : value_from(choices);
    batch.walk({.root = root,
                .first = first,
                .head = head,
                .link_offset = choices.take<std::int8_t>(),
                .next_offset = choices.byte() % 4 == 3 ? choices.take<std::int32_t>() : 0,
                .max_nodes = choices.take<std::uint32_t>() % (wire::kMaxWalkNodes + 2),
                .paging = paging,
                .shape = static_cast<wire::ListShape>(choices.byte() % 5),
                .field_count = 0},
               fields);
}

void add_search(Choices& choices, BatchBuilder& batch) {
    const std::uint64_t start = value_from(choices);
    wire::SearchCall call{.start = start,
                          .end = choices.byte() % 2 == 0 ? kHighRam + 4096 : value_from(choices),
                          .alignment = 1u << choices.byte() % 14,
                          .max_matches = choices.below(wire::kMaxSearchMatches + 2),
                          .pattern_size = choices.byte() % 66u,
                          .reserved = 0,
                          .pattern = {}};
    call.pattern.fill(choices.byte());
    batch.search(call);
}

Octets structured(Choices& choices, const SyntheticGuest& guest) {
    BatchBuilder batch{choices.byte() % 2u};
    for (int ops = 0; ops < 24 && !choices.empty(); ++ops) {
        switch (choices.byte() % 8) {
            case 0: batch.describe(); break;
            case 1: batch.registers(choices.byte() % 4); break;
            case 2:
            case 3: {
                const auto [root, paging] = space_from(choices, guest);
                const std::uint64_t address = value_from(choices);
                batch.read(root, paging, address,
                           choices.take<std::uint32_t>() % (wire::kMaxReadSize + 2));
                break;
            }
            case 4: add_search(choices, batch); break;
            case 5: {
                const auto op = static_cast<wire::Op>(choices.byte() % 8);
                batch.add(op, {choices.bytes(choices.byte())});
                break;
            }
            default: add_walk(choices, guest, batch);
        }
    }
    return batch.bytes();
}

void check_answer(Bytes answer) {
    check(answer.size() <= wire::kMaxAnswerSize, "an answer keeps to its bound");
    const auto reply = hypervisor::testing::take_apart(answer);
    check(reply.has_value(), "an answer is as long as its parts say");
    for (const auto& op : reply->ops) {
        const bool may_carry =
            op.status == wire::OpStatus::ok || op.status == wire::OpStatus::fault;
        check(may_carry || op.result.empty(), "what failed carries nothing");
        if (op.op != wire::Op::walk || !may_carry) continue;
        const auto walk = op.as<wire::WalkResult>();
        check(op.result.size() == sizeof(walk) + std::uint64_t{walk.node_count} * walk.row_size,
              "a walk has the rows that it says");
        check(walk.node_count <= wire::kMaxWalkNodes, "a walk keeps to its bound of nodes");
    }
}

}  // namespace

void run(Bytes input) {
    static World world;
    SyntheticGuest& guest = world.guest;
    Choices choices{input};
    const bool is_raw = choices.byte() % 4 == 0;
    const Octets batch =
        is_raw ? Octets{input.begin() + std::min<std::ptrdiff_t>(1, std::ssize(input)), input.end()}
               : structured(choices, guest);
    if (batch.size() > wire::kMaxRequestSize) return;  // no IDS can seal it
    if (!world.session) {
        world.session =
            hypervisor::testing::open_session(*world.machine, guest.id, world.authority);
        check(world.session != nullptr, "an approved IDS registers");
    }
    world.machine->set_clock_step(1000);
    guest.reads = 0;
    const auto reply = hypervisor::testing::call(
        *world.machine, world.session->seal(wire::Command::request, batch));
    check(guest.reads_outside_ram == 0, "only the domain's RAM is read");
    check(guest.reads <= hypervisor::kMaxAccesses + kAboveBudget,
          "a call does a bounded amount of work");
    check(!guest.is_held(), "vCPUs are let go");
    const std::string complaint = world.machine->complaint();
    check(complaint.empty(), complaint.c_str());
    if (reply.status != wire::Status::ok) {
        check(reply.status == wire::Status::malformed, "a sealed call is answered or malformed");
        check(guest.reads == 0, "nothing is read for what is malformed");
        check(is_raw, "a batch that is well-formed is answered");
        world.session.reset();
        return;
    }
    const auto answer = world.session->open(wire::Command::request, reply.payload);
    check(answer.has_value(), "the answer opens");
    check_answer(*answer);
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    const SyntheticGuest guest{kRam};
    const auto raw = [&](const BatchBuilder& batch) {
        result.push_back(Recorder{}.put(std::uint8_t{0}).put_bytes(batch.bytes()).octets());
    };
    raw(BatchBuilder{}.describe().registers(1).registers(9));
    raw(BatchBuilder{1}
            .read(0, wire::Paging::physical, 0, 64)
            .read(guest.root(), guest.paging(), kHeap, 5000));
    raw(BatchBuilder{}.search(hypervisor::testing::search_for("a", 0, kHighRam)));
    raw(BatchBuilder{}.walk({.root = guest.root(),
                             .first = kHeap,
                             .head = kHeap,
                             .link_offset = 0,
                             .next_offset = 0,
                             .max_nodes = 1000,
                             .paging = guest.paging(),
                             .shape = wire::ListShape::circular,
                             .field_count = 0},
                            {{.size = 8, .hop_count = 1, .offsets = {8, 0}, .reserved = 0}}));
    for (std::uint8_t op = 0; op < 8; ++op) {
        Recorder record;
        record.put(std::uint8_t{1}).put(std::uint8_t{1});
        for (std::uint8_t i = 0; i < 4; ++i) {
            record.put(op);
            for (std::uint8_t byte = 0; byte < 40; ++byte)
                record.put(static_cast<std::uint8_t>(byte * i / 2));
        }
        result.push_back(record.octets());
    }
    return result;
}

}  // namespace sgm::fuzz
