// SPDX-License-Identifier: MIT
#include "crypto/cmac.hpp"

#include "crypto/ipsec_mb.hpp"
#include "crypto/secret.hpp"

namespace sgm::crypto {
namespace {

constexpr std::size_t kBlock = 16;

// Multiplication by x in GF(2^128): RFC 4493, 2.3. The same work whatever the top bit is.
void double_in_place(Cmac128& value) {
    const unsigned carry = value[0] >> 7;
    for (std::size_t i = 0; i < kBlock; ++i) {
        const unsigned next = i + 1 < kBlock ? value[i + 1] : 0u;
        value[i] = static_cast<std::uint8_t>(unsigned{value[i]} << 1 | next >> 7);
    }
    value[kBlock - 1] = static_cast<std::uint8_t>(value[kBlock - 1] ^ carry * 0x87u);
}

void mix(Cmac128& state, Bytes block) {
    for (std::size_t i = 0; i < block.size(); ++i)
        state[i] ^= block[i];
}

}  // namespace

Cmac128 aes128_cmac(std::span<const std::uint8_t, kAes128KeySize> key, Bytes message) {
    ipsec_mb::Aes128Schedule schedule;
    ipsec_mb::expand_key_128(key.data(), schedule);

    Cmac128 subkey{};
    ipsec_mb::encrypt_block_128(schedule, subkey.data());
    double_in_place(subkey);

    Cmac128 state{};
    while (message.size() > kBlock) {
        mix(state, message.first(kBlock));
        ipsec_mb::encrypt_block_128(schedule, state.data());
        message = message.subspan(kBlock);
    }
    mix(state, message);
    if (message.size() < kBlock) {
        state[message.size()] ^= 0x80;
        double_in_place(subkey);
    }
    mix(state, subkey);
    ipsec_mb::encrypt_block_128(schedule, state.data());
    wipe(schedule);
    wipe(subkey);
    return state;
}

}  // namespace sgm::crypto
