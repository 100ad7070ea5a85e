// SPDX-License-Identifier: MIT
// The core reading a VM's RAM file in place: what it must not touch, and what it must not remember.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "config/temporary_directory.hpp"
#include "hypervisor/core/operations.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/testing/fake_qemu.hpp"

namespace sgm::qemu {
namespace {

using hypervisor::testing::BatchBuilder;

constexpr std::uint64_t kSize = 64ull << 20;
constexpr std::uint64_t kRoot = 0x20'0000;  // and its tables in the three pages behind
constexpr std::uint64_t kTable = kRoot + 3 * 4096;
constexpr std::uint64_t kNodes = 0x40'0000;
constexpr std::uint64_t kAddress = 0xffff'8880'0000'0000;  // kNodes, 512 pages of 4 KiB
constexpr std::uint64_t kPresentWritable = 3;
constexpr std::uint64_t kLargeBit = 1u << 7;
constexpr std::uint64_t kLargePage = 2ull << 20;

// One circular list of nodes, each on a page of its own: the link at 0, eight bytes of text at 8.
class DirectMemoryTest : public ::testing::Test {
  protected:
    DirectMemoryTest() {
        EXPECT_EQ(::ftruncate(ram.get(), kSize), 0);
        const auto index = [](int level) { return (kAddress >> (12 + 9 * (level - 1)) & 511) * 8; };
        for (int level = 4; level > 1; --level) {
            const std::uint64_t table = kRoot + static_cast<std::uint64_t>(4 - level) * 4096;
            put(table + index(level), (table + 4096) | kPresentWritable);
        }
        map_small();
        EXPECT_TRUE(domain.attach().has_value());
    }
    void put(std::uint64_t physical, std::uint64_t value) {
        EXPECT_EQ(::pwrite(ram.get(), &value, sizeof value, static_cast<off_t>(physical)),
                  static_cast<ssize_t>(sizeof value));
    }
    void map(std::uint64_t page, std::uint64_t physical) {
        put(kTable + page * 8, physical | kPresentWritable);
    }
    void map_small() {
        put(kTable - 4096 + (kAddress >> 21 & 511) * 8, kTable | kPresentWritable);
        for (std::uint64_t page = 0; page < 512; ++page)
            map(page, kNodes + page * 4096);
    }
    // All of it as one page of 2 MiB.
    void map_large(std::uint64_t physical) {
        put(kTable - 4096 + (kAddress >> 21 & 511) * 8, physical | kPresentWritable | kLargeBit);
    }
    static std::uint64_t node(std::uint64_t page) { return kAddress + page * 4096; }

    // The rows of the list that begins at node 0, and the status of the walk.
    hypervisor::testing::OpReply walk(const std::vector<wire::FieldPath>& of) {
        return walk_from(node(0), of);
    }
    hypervisor::testing::OpReply walk_from(std::uint64_t first,
                                           const std::vector<wire::FieldPath>& of) {
        return walk_of(domain, first, of);
    }
    hypervisor::testing::OpReply walk_of(hypervisor::Domain& of_domain, std::uint64_t first,
                                         const std::vector<wire::FieldPath>& of) {
        const wire::WalkCall call{.root = kRoot,
                                  .first = first,
                                  .head = first,
                                  .link_offset = 0,
                                  .next_offset = 0,
                                  .max_nodes = 100,
                                  .paging = wire::Paging::four_level,
                                  .shape = wire::ListShape::circular,
                                  .field_count = 0};
        domain.refresh();
        const auto size =
            operations.execute(of_domain, BatchBuilder{}.walk(call, of).bytes(), answer);
        return hypervisor::testing::take_apart(Bytes{answer}.first(size.value()))->ops.at(0);
    }
    // The text of the row, the first field.
    static std::uint64_t text(const hypervisor::testing::OpReply& reply, std::size_t row) {
        std::uint64_t value = 0;
        const Bytes rows = reply.after<wire::WalkResult>();
        std::memcpy(&value, &rows[row * reply.as<wire::WalkResult>().row_size + 16], sizeof value);
        return value;
    }
    [[nodiscard]] blkcnt_t blocks() const {
        struct stat status{};
        EXPECT_EQ(::fstat(ram.get(), &status), 0);
        return status.st_blocks;
    }

    const std::vector<wire::FieldPath> fields{
        {.size = 8, .hop_count = 0, .offsets = {8}, .reserved = 0}};
    config::TemporaryDirectory directory;
    Descriptor ram{::memfd_create("ram", MFD_CLOEXEC)};
    testing::FakeQemu qemu{directory / "qmp"};
    QemuDomain domain{{.uuid = {1, 2, 3},
                       .memory = fmt::format("/proc/self/fd/{}", ram.get()),
                       .qmp = directory / "qmp",
                       .backend = "",
                       .given = {},
                       .qmp_connection = {}},
                      1};
    hypervisor::testing::SyntheticPort port;
    hypervisor::Operations operations{port};
    std::vector<std::uint8_t> answer = std::vector<std::uint8_t>(wire::kMaxAnswerSize);
};

TEST_F(DirectMemoryTest, a_list_is_read_as_the_guest_left_it) {
    put(kNodes, node(7));
    put(kNodes + 8, 11);
    put(kNodes + 7 * 4096, node(0));
    put(kNodes + 7 * 4096 + 8, 22);
    for (int again = 0; again < 2; ++again) {
        const auto reply = walk(fields);
        ASSERT_EQ(reply.status, wire::OpStatus::ok);
        EXPECT_EQ(reply.as<wire::WalkResult>().node_count, 2u);
        EXPECT_EQ(text(reply, 0), 11u);
        EXPECT_EQ(text(reply, 1), 22u);
        put(kNodes + 7 * 4096 + 8, 22);
    }
}

TEST_F(DirectMemoryTest, a_page_that_was_never_written_reads_as_zeros_and_stays_a_hole) {
    put(kNodes, node(5));  // where nothing is: its link is null
    const blkcnt_t before = blocks();
    for (int again = 0; again < 3; ++again) {
        const auto reply = walk(fields);
        EXPECT_EQ(text(reply, 1), 0u);
        EXPECT_EQ(reply.as<wire::WalkResult>().stop, wire::WalkStop::fault);  // at address 0
    }
    EXPECT_EQ(blocks(), before);
}

TEST_F(DirectMemoryTest, where_a_page_lies_is_forgotten_with_the_batch) {
    put(kNodes, node(0));
    put(kNodes + 8, 11);
    put(kNodes + 9 * 4096, node(0));
    put(kNodes + 9 * 4096 + 8, 99);
    EXPECT_EQ(text(walk(fields), 0), 11u);
    map(0, kNodes + 9 * 4096);
    EXPECT_EQ(text(walk(fields), 0), 99u);
}

TEST_F(DirectMemoryTest, an_address_outside_ram_is_never_found_in_place) {
    put(kNodes, node(0));
    ASSERT_EQ(walk(fields).status, wire::OpStatus::ok);
    map(0, kSize);  // the first page behind RAM
    EXPECT_EQ(walk(fields).status, wire::OpStatus::fault);
    map(0, 0xc'0000);  // ROM
    EXPECT_EQ(walk(fields).status, wire::OpStatus::fault);
}

TEST_F(DirectMemoryTest, a_field_over_the_border_of_two_pages_comes_from_both) {
    put(kNodes, node(0));
    put(kNodes + 4088, 0x1111'1111'0000'0000);
    put(kNodes + 30 * 4096, 0x2222'2222);
    map(1, kNodes + 30 * 4096);
    const std::vector<wire::FieldPath> across{
        {.size = 8, .hop_count = 0, .offsets = {4092}, .reserved = 0}};
    for (int again = 0; again < 2; ++again)
        EXPECT_EQ(text(walk(across), 0), 0x2222'2222'1111'1111u);
}

TEST_F(DirectMemoryTest, only_the_fields_on_a_page_that_is_not_there_are_bad) {
    put(kNodes, node(0) + 3072);
    put(kNodes + 3072, node(0) + 3072);
    put(kNodes + 3080, 11);
    map(1, kSize);  // the first page behind RAM
    const std::vector<wire::FieldPath> about_the_border{
        {.size = 8, .hop_count = 0, .offsets = {3080}, .reserved = 0},
        {.size = 8, .hop_count = 0, .offsets = {4096}, .reserved = 0},
        {.size = 8, .hop_count = 1, .offsets = {4000, 0}, .reserved = 0}};  // a null pointer
    const auto reply = walk(about_the_border);
    const auto row = Reader{reply.after<wire::WalkResult>()}.take<wire::WalkRow>();
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->bad_fields, 0b110u);
    EXPECT_EQ(row->null_fields, 0b100u);
    EXPECT_EQ(text(reply, 0), 11u);
}

TEST_F(DirectMemoryTest, a_hole_in_a_large_page_reads_as_zeros_and_stays_a_hole) {
    map_large(kNodes);
    put(kNodes, node(5));  // where nothing is: its link is null
    put(kNodes + 8, 11);
    const blkcnt_t before = blocks();
    const auto reply = walk(fields);
    EXPECT_EQ(reply.as<wire::WalkResult>().stop, wire::WalkStop::fault);  // at address 0
    EXPECT_EQ(text(reply, 0), 11u);
    EXPECT_EQ(text(reply, 1), 0u);
    EXPECT_EQ(blocks(), before);
}

TEST_F(DirectMemoryTest, a_large_page_behind_ram_is_never_found_in_place) {
    map_large(kSize);
    EXPECT_EQ(walk(fields).status, wire::OpStatus::fault);
    map_large(kSize - kLargePage);
    put(kSize - kLargePage, node(0));
    put(kSize - kLargePage + 8, 11);
    EXPECT_EQ(text(walk(fields), 0), 11u);
}

TEST_F(DirectMemoryTest, a_large_page_that_only_begins_in_ram_is_read_as_far_as_that) {
    // q35 has ROM at 640 KiB: the first 2 MiB are not RAM as a whole.
    map_large(0);
    put(4096, node(0xc0));
    put(4096 + 8, 11);
    const auto reply = walk_from(node(1), fields);
    EXPECT_EQ(reply.status, wire::OpStatus::fault);
    EXPECT_EQ(text(reply, 0), 11u);
    EXPECT_EQ(reply.as<wire::WalkResult>().fault.kind, wire::FaultKind::outside_ram);
}

// The same VM without the way past the port.
class ThroughThePort final : public hypervisor::Domain {
  public:
    explicit ThroughThePort(hypervisor::Domain& domain) : domain_{domain} {}
    const wire::Uuid& uuid() const override { return domain_.uuid(); }
    std::uint64_t epoch() const override { return domain_.epoch(); }
    std::uint32_t vcpu_count() const override { return domain_.vcpu_count(); }
    wire::Readability readability() const override { return domain_.readability(); }
    wire::Protection protection() const override { return domain_.protection(); }
    hypervisor::AddressFormat address_format() const override { return domain_.address_format(); }
    std::span<const wire::RamRange> ram_ranges() const override { return domain_.ram_ranges(); }
    wire::RamRange populated(std::uint64_t start, std::uint64_t end) override {
        return domain_.populated(start, end);
    }
    bool read(std::uint64_t physical, MutableBytes out) override {
        return domain_.read(physical, out);
    }
    std::optional<wire::Registers> registers(std::uint32_t vcpu) override {
        return domain_.registers(vcpu);
    }
    bool hold() override { return domain_.hold(); }
    bool release() override { return domain_.release(); }

  private:
    hypervisor::Domain& domain_;
};

TEST_F(DirectMemoryTest, what_is_read_in_place_is_what_is_read_through_the_port) {
    std::mt19937_64 random{1};
    const auto below = [&](std::uint64_t end) { return random() % end; };
    // Somewhere in the first pages, of which some are not there, and rarely anywhere.
    const auto address = [&] {
        if (below(50) == 0) return random();
        return node(below(16)) + below(512) * 8 + (below(8) == 0 ? below(8) : 0);
    };
    ThroughThePort through_the_port{domain};
    for (int round = 0; round < 300; ++round) {
        map_small();
        for (std::uint64_t page = 0; page < 16; ++page) {
            if (below(8) == 0) map(page, below(2) == 0 ? kSize : kNodes + 400 * 4096);
        }
        if (round % 3 == 0) map_large(kNodes);
        std::vector<std::uint64_t> words(16 * 512);
        std::ranges::generate(words, [&] { return below(6) == 0 ? 0 : address(); });
        ASSERT_EQ(::pwrite(ram.get(), words.data(), words.size() * 8, kNodes),
                  static_cast<ssize_t>(words.size() * 8));
        std::vector<wire::FieldPath> paths(1 + below(wire::kMaxWalkFields));
        for (wire::FieldPath& path : paths) {
            path.size = static_cast<std::uint32_t>(below(2) == 0 ? 4u << below(3) : 1 + below(256));
            path.hop_count = static_cast<std::uint32_t>(below(3));
            for (std::int32_t& offset : path.offsets)
                offset = static_cast<std::int32_t>(below(4096)) - 1024;
        }
        const std::uint64_t first = address();
        const auto in_place = walk_from(first, paths);
        const auto by_port = walk_of(through_the_port, first, paths);
        ASSERT_EQ(in_place.status, by_port.status) << round;
        ASSERT_EQ(in_place.result, by_port.result) << round;
    }
}

TEST_F(DirectMemoryTest, a_file_cut_short_after_it_was_read_in_place_gives_no_rows) {
    put(kNodes, node(0));
    put(kNodes + 8, 11);
    ASSERT_EQ(walk(fields).status, wire::OpStatus::ok);
    ASSERT_EQ(::ftruncate(ram.get(), 4096), 0);
    EXPECT_EQ(walk(fields).status, wire::OpStatus::unreadable);
}

}  // namespace
}  // namespace sgm::qemu
