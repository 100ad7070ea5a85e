// SPDX-License-Identifier: MIT
#include "sgx/loader/device/testing/rsa_check.hpp"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "wire/bytes.hpp"

namespace sgm::sgx::device::testing {
namespace {

struct Free {
    void operator()(BIGNUM* number) const { BN_free(number); }
    void operator()(BN_CTX* context) const { BN_CTX_free(context); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    void operator()(OSSL_PARAM* parameters) const { OSSL_PARAM_free(parameters); }
    void operator()(OSSL_PARAM_BLD* builder) const { OSSL_PARAM_BLD_free(builder); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;
using Number = std::array<std::uint8_t, 384>;

Owned<BIGNUM> number(const Number& little_endian) {
    return Owned<BIGNUM>{
        BN_lebin2bn(little_endian.data(), static_cast<int>(little_endian.size()), nullptr)};
}

Owned<EVP_PKEY> public_key(const Sigstruct& sigstruct) {
    const auto modulus = number(sigstruct.modulus);
    const Owned<BIGNUM> exponent{BN_new()};
    BN_set_word(exponent.get(), sigstruct.exponent);
    const Owned<OSSL_PARAM_BLD> builder{OSSL_PARAM_BLD_new()};
    OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get());
    OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get());
    const Owned<OSSL_PARAM> parameters{OSSL_PARAM_BLD_to_param(builder.get())};
    const Owned<EVP_PKEY_CTX> context{EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr)};
    EVP_PKEY* key = nullptr;
    EVP_PKEY_fromdata_init(context.get());
    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get());
    return Owned<EVP_PKEY>{key};
}

// Whether quotient * divisor <= value < (quotient + 1) * divisor.
bool is_quotient(const BIGNUM* quotient, const BIGNUM* value, const BIGNUM* divisor,
                 BN_CTX* context) {
    const Owned<BIGNUM> product{BN_new()};
    BN_mul(product.get(), quotient, divisor, context);
    if (BN_cmp(product.get(), value) > 0) return false;
    BN_add(product.get(), product.get(), divisor);
    return BN_cmp(value, product.get()) < 0;
}

}  // namespace

bool signature_verifies(const Sigstruct& sigstruct) {
    const auto key = public_key(sigstruct);
    if (!key || EVP_PKEY_get_bits(key.get()) != 3072) return false;
    const Bytes bytes = bytes_of(sigstruct);
    Number signature = sigstruct.signature;
    std::ranges::reverse(signature);
    const Owned<EVP_MD_CTX> context{EVP_MD_CTX_new()};
    return EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
           EVP_DigestVerifyUpdate(context.get(), bytes.data(), 128) == 1 &&
           EVP_DigestVerifyUpdate(context.get(), bytes.data() + 900, 128) == 1 &&
           EVP_DigestVerifyFinal(context.get(), signature.data(), signature.size()) == 1;
}

bool quotients_are_right(const Sigstruct& sigstruct) {
    const Owned<BN_CTX> context{BN_CTX_new()};
    const auto n = number(sigstruct.modulus);
    const auto s = number(sigstruct.signature);
    const auto q1 = number(sigstruct.q1);
    const auto q2 = number(sigstruct.q2);
    const Owned<BIGNUM> square{BN_new()};
    BN_sqr(square.get(), s.get(), context.get());
    if (!is_quotient(q1.get(), square.get(), n.get(), context.get())) return false;
    // Q2 = floor((S^3 - Q1 * S * N) / N) = floor(S * (S^2 - Q1 * N) / N)
    const Owned<BIGNUM> rest{BN_new()};
    BN_mul(rest.get(), q1.get(), n.get(), context.get());
    BN_sub(rest.get(), square.get(), rest.get());
    BN_mul(rest.get(), rest.get(), s.get(), context.get());
    return is_quotient(q2.get(), rest.get(), n.get(), context.get());
}

}  // namespace sgm::sgx::device::testing
