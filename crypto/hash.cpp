// SPDX-License-Identifier: MIT
#include "crypto/hash.hpp"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "crypto/non_null.hpp"
#include "crypto/secret.hpp"

namespace sgm::crypto {
namespace {

// A running hash or MAC holds what it has absorbed; libsodium wipes it only in `final`.
template <typename T>
struct Wiped {
    Wiped() = default;
    ~Wiped() { wipe({reinterpret_cast<std::uint8_t*>(&value), sizeof value}); }
    Wiped(const Wiped&) = delete;
    Wiped& operator=(const Wiped&) = delete;
    T value{};
};

}  // namespace

wire::Digest sha256(Bytes message) {
    return sha256({message});
}

wire::Digest sha256(std::initializer_list<Bytes> parts) {
    Wiped<crypto_hash_sha256_state> state;
    crypto_hash_sha256_init(&state.value);
    for (const Bytes part : parts) {
        crypto_hash_sha256_update(&state.value, part.data(), part.size());
    }
    wire::Digest digest;
    crypto_hash_sha256_final(&state.value, digest.data());
    return digest;
}

wire::Digest hmac_sha256(Bytes key, std::initializer_list<Bytes> parts) {
    Wiped<crypto_auth_hmacsha256_state> state;
    crypto_auth_hmacsha256_init(&state.value, non_null(key), key.size());
    for (const Bytes part : parts) {
        crypto_auth_hmacsha256_update(&state.value, part.data(), part.size());
    }
    wire::Digest mac;
    crypto_auth_hmacsha256_final(&state.value, mac.data());
    return mac;
}

// libsodium has HKDF only from 1.0.19 on.
wire::Digest hkdf_extract(Bytes salt, Bytes input_key) {
    return hmac_sha256(salt, {input_key});
}

std::expected<void, Error> hkdf_expand(Bytes pseudo_random_key, std::initializer_list<Bytes> info,
                                       MutableBytes out) {
    constexpr std::size_t kHashSize = 32;
    if (out.size() > 255 * kHashSize) return std::unexpected(Error::bad_size);
    Secret<kHashSize> block;
    std::size_t block_size = 0;  // T(0) is the empty string
    for (std::uint8_t counter = 1; !out.empty(); ++counter) {
        Wiped<crypto_auth_hmacsha256_state> state;
        crypto_auth_hmacsha256_init(&state.value, non_null(pseudo_random_key),
                                    pseudo_random_key.size());
        crypto_auth_hmacsha256_update(&state.value, block.bytes().data(), block_size);
        for (const Bytes part : info) {
            crypto_auth_hmacsha256_update(&state.value, part.data(), part.size());
        }
        crypto_auth_hmacsha256_update(&state.value, &counter, 1);
        crypto_auth_hmacsha256_final(&state.value, block.mutable_bytes().data());
        block_size = kHashSize;
        const std::size_t size = std::min(out.size(), kHashSize);
        std::memcpy(out.data(), block.bytes().data(), size);
        out = out.subspan(size);
    }
    return {};
}

}  // namespace sgm::crypto
