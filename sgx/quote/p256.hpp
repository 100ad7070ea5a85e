// SPDX-License-Identifier: MIT
// ECDSA over P-256 with SHA-256, by OpenSSL, in the raw forms that SGX uses.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <optional>

#include "sgx/quote/quote.hpp"

namespace sgm::sgx {

template <auto Free>
struct OpensslDeleter {
    template <typename T>
    void operator()(T* object) const {
        Free(object);
    }
};
using KeyPointer = std::unique_ptr<EVP_PKEY, OpensslDeleter<EVP_PKEY_free>>;

// Null when OpenSSL has no memory or no randomness.
[[nodiscard]] KeyPointer generate_p256_key();

// Null when the point is not on the curve.
[[nodiscard]] KeyPointer p256_key(const P256Point& point);

[[nodiscard]] bool is_p256(const EVP_PKEY& key);
[[nodiscard]] std::optional<P256Point> p256_point(const EVP_PKEY& key);

[[nodiscard]] std::optional<P256Signature> p256_sign(EVP_PKEY& key, Bytes message);
[[nodiscard]] bool p256_verify(EVP_PKEY& key, const P256Signature& signature, Bytes message);

}  // namespace sgm::sgx
