// SPDX-License-Identifier: MIT
// What a guest can make the search for kallsyms cost that kernels before 6.0 need: it may put
// whatever looks like tables into its image, before the true ones.
#include <gtest/gtest.h>

#include "guest/linux/kernel.hpp"
#include "guest/testing/direct_transport.hpp"
#include "guest/testing/kallsyms_builder.hpp"
#include "guest/testing/synthetic_kernel.hpp"

namespace sgm::guest {
namespace {

constexpr std::uint32_t kNames = 1024;
// In the image's text, with room before it for all that the search reads back to.
constexpr std::uint64_t kFirstFake = 40u << 10;
constexpr std::uint64_t kFakeSpacing = 2u << 10;

// Names that are right at every multiple of 8: eight bytes again and again, which are at once the
// number of names and three names.
std::vector<std::uint8_t> names_everywhere(std::size_t size) {
    constexpr std::array<std::uint8_t, 8> kEight{kNames & 0xff, kNames >> 8, 0, 0,
                                                 'x',           'x',         1, 'x'};
    std::vector<std::uint8_t> names(size);
    for (std::size_t i = 0; i < size; ++i)
        names[i] = kEight[i % kEight.size()];
    return names;
}

std::vector<std::uint32_t> markers_of_names_everywhere() {
    KallsymsTables tables;
    tables.names = names_everywhere(8 * kNames);
    tables.long_names = false;
    return testing::markers(tables, kNames);
}

class KallsymsSearch : public ::testing::Test {
  protected:
    void write(std::uint64_t at, Bytes bytes) {
        kernel_.vm().write(kernel_.image_physical() + at, bytes);
    }

    // Markers, token table and token index: sound, and names must be looked for before them.
    void fake_tables(std::uint64_t at, const std::vector<std::uint32_t>& markers) {
        std::vector<std::uint8_t> tokens;
        std::array<std::uint16_t, 256> index{};
        for (std::size_t i = 0; i < index.size(); ++i) {
            index[i] = static_cast<std::uint16_t>(tokens.size());
            tokens.push_back(i == 0 ? 'x' : static_cast<std::uint8_t>(i));
            tokens.push_back(0);
        }
        write(at, {reinterpret_cast<const std::uint8_t*>(markers.data()), 4 * markers.size()});
        write(at + 4 * markers.size(), tokens);
        write(at + 4 * markers.size() + tokens.size(), bytes_of(index));
    }

    std::string why_not() {
        const auto kernel = Kernel::attach(memory_);
        return kernel ? std::string{} : std::string{kernel.error().why};
    }

    testing::SyntheticKernel kernel_{{.names_kallsyms = false}};
    hypervisor::testing::SyntheticPort port_{{&kernel_.vm()}};
    testing::DirectTransport transport_{port_, kernel_.vm()};
    Memory memory_{transport_};
};

TEST_F(KallsymsSearch, reads_names_for_four_fakes_and_for_no_more) {
    const auto markers = markers_of_names_everywhere();
    for (std::uint64_t i = 0; i < 3; ++i)
        fake_tables(kFirstFake + i * kFakeSpacing, markers);
    EXPECT_EQ(why_not(), "") << "the true tables are the fourth";
    fake_tables(kFirstFake + 3 * kFakeSpacing, markers);
    EXPECT_NE(why_not().find("kallsyms) was not found"), std::string::npos);
}

TEST_F(KallsymsSearch, gives_up_on_a_fake_that_would_have_names_decoded_at_every_place) {
    const auto markers = markers_of_names_everywhere();
    fake_tables(kFirstFake, markers);
    EXPECT_EQ(why_not(), "") << "no names before it";
    write(0, names_everywhere(kFirstFake));
    // So that no place gives a whole table, and the search would come to the true one.
    write(kFirstFake - 16, std::vector<std::uint8_t>(16, 0xff));
    EXPECT_NE(why_not().find("kallsyms) was not found"), std::string::npos);
}

}  // namespace
}  // namespace sgm::guest
