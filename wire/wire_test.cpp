// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <vector>

#include "wire/attestation.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/owner.hpp"
#include "wire/ring.hpp"
#include "wire/sgm_op.hpp"

namespace sgm {
namespace {

TEST(Reader, a_value_that_does_not_fit_is_refused_and_nothing_is_consumed) {
    const std::vector<std::uint8_t> bytes(sizeof(wire::OpHeader) - 1);
    Reader reader{bytes};
    EXPECT_FALSE(reader.take<wire::OpHeader>().has_value());
    EXPECT_EQ(reader.rest().size(), bytes.size());
    EXPECT_FALSE(reader.take_bytes(~std::uint64_t{0}).has_value());
    EXPECT_EQ(reader.rest().size(), bytes.size());
}

TEST(Writer, what_does_not_fit_is_not_written_and_the_writer_stays_failed) {
    std::array<std::uint8_t, 10> buffer{};
    Writer writer{buffer};
    EXPECT_TRUE(writer.put(std::uint64_t{1}));
    EXPECT_FALSE(writer.put(std::uint32_t{2}));
    EXPECT_FALSE(writer.put(std::uint8_t{3}));
    EXPECT_FALSE(writer.ok());
    EXPECT_EQ(writer.size(), 8u);
}

// One vector for each struct that is signed or used as additional data: a changed layout would
// silently change what a signature means.
TEST(Wire, an_op_header_has_these_bytes) {
    const wire::OpHeader header{.magic = wire::kOpMagic,
                                .version = 1,
                                .command = static_cast<std::uint16_t>(wire::Command::request),
                                .size = 0x01020304,
                                .status = 5};
    const std::vector<std::uint8_t> expected = {'S', 'G', 'M', '1', 1, 0, 3, 0,
                                                4,   3,   2,   1,   5, 0, 0, 0};
    const Bytes bytes = bytes_of(header);
    EXPECT_EQ(std::vector<std::uint8_t>(bytes.begin(), bytes.end()), expected);
}

}  // namespace
}  // namespace sgm
