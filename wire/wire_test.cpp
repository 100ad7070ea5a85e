// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <vector>

#include "wire/attestation.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/owner.hpp"
#include "wire/ring.hpp"
#include "wire/sgm_op.hpp"
#include "wire/xen_op.h"

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

TEST(Wire, a_xen_call_has_these_bytes) {
    sgm_xen_op op{};
    op.version = SGM_XEN_VERSION;
    op.command = SGM_XEN_CALL;
    op.domid = SGM_XEN_NO_DOMAIN;
    op.u.call.call = 0x0102030405060708;
    op.u.call.reply = 0x1112131415161718;
    op.u.call.call_size = 0x21222324;
    op.u.call.reply_capacity = SGM_XEN_MAX_REPLY;
    op.u.call.reply_size = 0x31323334;
    std::vector<std::uint8_t> expected = {
        1,    0,    0,    0,    1,    0,    0,    0, 0xff, 0xff, 0xff, 0xff, 0,    0,    0,
        0,    8,    7,    6,    5,    4,    3,    2, 1,    0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
        0x12, 0x11, 0x24, 0x23, 0x22, 0x21, 0x40, 0, 0x10, 0,    0x34, 0x33, 0x32, 0x31};
    expected.resize(sizeof op);
    std::vector<std::uint8_t> bytes(sizeof op);
    std::memcpy(bytes.data(), &op, sizeof op);
    EXPECT_EQ(bytes, expected);
}

}  // namespace
}  // namespace sgm
