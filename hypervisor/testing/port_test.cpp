// SPDX-License-Identifier: MIT
#include "hypervisor/skeleton/port.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/testing/port_suite.hpp"

namespace sgm::hypervisor::testing {
namespace {

constexpr std::uint64_t kPage = 4096;

class SyntheticWorld final : public PortWorld {
  public:
    SyntheticWorld() { guest_.vcpus[0].valid = wire::kRegCr3; }
    Port& port() override { return port_; }
    wire::Uuid uuid() const override { return guest_.id; }
    void write(std::uint64_t physical, Bytes bytes) override { guest_.write(physical, bytes); }
    std::uint64_t populated_units() override { return guest_.populated(0, 4ul << 20).size; }
    void reset() override { ++guest_.current_epoch; }

  private:
    SyntheticGuest guest_{4ul << 20};
    SyntheticPort port_{{&guest_}};
};

class SkeletonWorld final : public PortWorld {
  public:
    Port& port() override { return port_; }
    bool supported() const override { return false; }

  private:
    skeleton::SkeletonPort port_;
};

INSTANTIATE_TEST_SUITE_P(Synthetic, PortSuite,
                         ::testing::Values(+[]() -> std::unique_ptr<PortWorld> {
                             return std::make_unique<SyntheticWorld>();
                         }));
INSTANTIATE_TEST_SUITE_P(Skeleton, PortSuite,
                         ::testing::Values(+[]() -> std::unique_ptr<PortWorld> {
                             return std::make_unique<SkeletonWorld>();
                         }));

// A page in the middle of the largest range.
std::uint64_t middle_of(const Domain& domain) {
    const auto ranges = domain.ram_ranges();
    const auto& largest = *std::ranges::max_element(ranges, {}, &wire::RamRange::size);
    return (largest.start + largest.size / 2) / kPage * kPage;
}

TEST_P(PortSuite, its_name_fits_the_identity) {
    EXPECT_FALSE(world->port().name().empty());
    EXPECT_LE(world->port().name().size(), 15u);
}

TEST_P(PortSuite, what_is_not_supported_is_refused_and_not_made_up) {
    if (world->supported()) return;
    std::array<std::uint8_t, 32> out{};
    EXPECT_FALSE(world->port().random(out));
    EXPECT_EQ(world->port().find(world->uuid()), nullptr);
    skeleton::SkeletonDomain domain{wire::Uuid{1}};
    EXPECT_NE(domain.readability(), wire::Readability::readable);
    EXPECT_TRUE(domain.ram_ranges().empty());
    EXPECT_FALSE(domain.read(0, out));
    EXPECT_EQ(domain.populated(0, 1ul << 30).size, 0u);
    EXPECT_FALSE(domain.registers(0).has_value());
    EXPECT_FALSE(domain.hold());
}

TEST_P(PortSuite, its_clock_never_goes_back) {
    std::uint64_t last = world->port().now_ns();
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t now = world->port().now_ns();
        ASSERT_GE(now, last);
        last = now;
    }
}

TEST_P(PortSuite, its_random_bytes_differ) {
    if (skip_unsupported()) return;
    std::array<std::uint8_t, 32> first{};
    std::array<std::uint8_t, 32> second{};
    ASSERT_TRUE(world->port().random(first));
    ASSERT_TRUE(world->port().random(second));
    EXPECT_NE(first, second);
}

TEST_P(PortSuite, an_unknown_uuid_is_no_domain) {
    wire::Uuid other = world->uuid();
    other[15] ^= 1;
    EXPECT_EQ(world->port().find(other), nullptr);
}

TEST_P(PortSuite, ram_ranges_ascend_without_overlap_below_the_largest_address) {
    if (skip_unsupported()) return;
    const auto ranges = domain().ram_ranges();
    ASSERT_FALSE(ranges.empty());
    EXPECT_LE(ranges.size(), wire::kMaxRamRanges);
    std::uint64_t end = 0;
    for (const wire::RamRange& range : ranges) {
        EXPECT_GE(range.start, end);
        EXPECT_GT(range.size, 0u);
        EXPECT_LE(range.size, (1ull << 52) - range.start);
        end = range.start + range.size;
    }
}

TEST_P(PortSuite, what_the_guest_writes_is_read) {
    if (skip_unsupported()) return;
    const std::uint64_t at = middle_of(domain());
    const std::array<std::uint8_t, 5> text{'h', 'e', 'l', 'l', 'o'};
    world->write(at + 7, text);
    std::array<std::uint8_t, 5> out{};
    ASSERT_TRUE(domain().read(at + 7, out));
    EXPECT_EQ(out, text);
    const auto extent = domain().populated(at, at + kPage);
    EXPECT_EQ(extent.start, at);
    EXPECT_GT(extent.size, 0u);
}

TEST_P(PortSuite, unpopulated_memory_reads_as_zeros_and_stays_unpopulated) {
    if (skip_unsupported()) return;
    const std::uint64_t before = world->populated_units();
    const std::uint64_t at = middle_of(domain());
    std::vector<std::uint8_t> out(3 * kPage, 1);
    ASSERT_TRUE(domain().read(at, out));
    EXPECT_EQ(std::ranges::count(out, 0), std::ssize(out));
    EXPECT_EQ(domain().populated(at, at + out.size()).size, 0u);
    EXPECT_EQ(world->populated_units(), before);
}

TEST_P(PortSuite, every_vcpu_has_registers) {
    if (skip_unsupported()) return;
    ASSERT_GT(domain().vcpu_count(), 0u);
    for (std::uint32_t vcpu = 0; vcpu < domain().vcpu_count(); ++vcpu)
        EXPECT_TRUE(domain().registers(vcpu).has_value());
}

TEST_P(PortSuite, a_hold_is_followed_by_another) {
    if (skip_unsupported()) return;
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(domain().hold());
        EXPECT_TRUE(domain().release());
    }
}

TEST_P(PortSuite, a_reset_changes_the_epoch_and_nothing_else_does) {
    if (skip_unsupported()) return;
    const std::uint64_t first = domain().epoch();
    EXPECT_EQ(domain().epoch(), first);
    world->reset();
    EXPECT_NE(domain().epoch(), first);
}

}  // namespace
}  // namespace sgm::hypervisor::testing
