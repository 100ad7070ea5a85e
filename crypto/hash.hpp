// SPDX-License-Identifier: MIT
// SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869).
#pragma once

#include <expected>
#include <initializer_list>

#include "crypto/error.hpp"
#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::crypto {

[[nodiscard]] wire::Digest sha256(Bytes message);

// SHA-256 of the parts, one after the other.
[[nodiscard]] wire::Digest sha256(std::initializer_list<Bytes> parts);

[[nodiscard]] wire::Digest hmac_sha256(Bytes key, std::initializer_list<Bytes> parts);

[[nodiscard]] wire::Digest hkdf_extract(Bytes salt, Bytes input_key);

// out.size() <= 255 * 32. Error: bad_size.
[[nodiscard]] std::expected<void, Error> hkdf_expand(Bytes pseudo_random_key,
                                                     std::initializer_list<Bytes> info,
                                                     MutableBytes out);

}  // namespace sgm::crypto
