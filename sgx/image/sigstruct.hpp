// SPDX-License-Identifier: MIT
// SIGSTRUCT: made with the signer's RSA-3072 key, and checked as EINIT does.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>

#include "sgx/image/arch.hpp"
#include "wire/bytes.hpp"

namespace sgm::sgx {

// An RSA key with 3072 bits and exponent 3: the only kind that SGX knows.
class SignerKey final {
  public:
    [[nodiscard]] static std::expected<SignerKey, std::string> generate();
    // PEM, and not readable by group or others.
    [[nodiscard]] static std::expected<SignerKey, std::string> load(
        const std::filesystem::path& path);
    // PEM with mode 0600; an existing file stays.
    [[nodiscard]] std::expected<void, std::string> save(const std::filesystem::path& path) const;

  private:
    friend std::expected<Sigstruct, std::string> sign_sigstruct(Sigstruct unsigned_fields,
                                                                const SignerKey& key);
    struct Free {
        void operator()(EVP_PKEY* key) const;
    };
    explicit SignerKey(EVP_PKEY* key) : key_{key} {}
    std::unique_ptr<EVP_PKEY, Free> key_;
};

struct SigningOptions {
    std::uint16_t isv_prod_id = 1;
    std::uint16_t isv_svn = 1;
    bool debug = false;
    std::uint64_t xfrm = kXfrmLegacy | kXfrmAvx;
    // State that the enclave may have or not, as its CPU offers it; `xfrm` goes before it.
    std::uint64_t optional_xfrm = kXfrmAvx512;
    std::uint32_t date = 0;  // BCD, 0xyyyymmdd
};

// Everything of a SIGSTRUCT but modulus, exponent, signature, q1 and q2. The attributes are fixed,
// all but the optional state: an enclave so signed runs with these and no others.
[[nodiscard]] Sigstruct describe_enclave(const wire::Digest& mrenclave,
                                         const SigningOptions& options);

[[nodiscard]] std::expected<Sigstruct, std::string> sign_sigstruct(Sigstruct unsigned_fields,
                                                                   const SignerKey& key);

// The same in two steps, for a key that lives elsewhere. What it signs, with RSASSA-PKCS1-v1_5, is
// this SHA-256 digest; the key itself is no part of it.
[[nodiscard]] wire::Digest signing_digest(const Sigstruct& unsigned_fields);

// `signature`: 384 bytes, big-endian, as RSA tools write them; anyone may have made them.
// `public_key`: PEM, RSA with 3072 bits and exponent 3. What comes out has been verified.
[[nodiscard]] std::expected<Sigstruct, std::string> complete_sigstruct(
    Sigstruct unsigned_fields, Bytes signature, const std::filesystem::path& public_key);

// The form, the signature, q1 and q2. The error names the field. Anyone may have written `bytes`.
[[nodiscard]] std::expected<Sigstruct, std::string> verify_sigstruct(Bytes bytes);

// What the enclave's SECS is made with, before EINIT: as signed, and with the optional state that
// is offered (loader/extended_state.hpp).
[[nodiscard]] Attributes attributes_for(const Sigstruct& sigstruct, std::uint64_t offered_xfrm);

// What EINIT asks besides: that the signer meant this enclave, with these attributes.
[[nodiscard]] std::expected<void, std::string> check_enclave(const Sigstruct& sigstruct,
                                                             const wire::Digest& mrenclave,
                                                             const Attributes& attributes,
                                                             std::uint32_t miscselect);

// MRSIGNER: SHA-256 of the modulus.
[[nodiscard]] wire::Digest mrsigner(const Sigstruct& sigstruct);

}  // namespace sgm::sgx
