// SPDX-License-Identifier: MIT
#include "crypto/aead.hpp"

#include <intel-ipsec-mb.h>
#include <sodium.h>

#include <new>

#include "crypto/ipsec_mb.hpp"
#include "crypto/non_null.hpp"
#include "crypto/secret.hpp"

namespace sgm::crypto {
namespace {

// Both libraries' schedules are plain bytes, made in place in Aes256Gcm::schedule_.
static_assert(sizeof(gcm_key_data) <= kAesGcmScheduleSize);
static_assert(sizeof(crypto_aead_aes256gcm_state) <= kAesGcmScheduleSize);
static_assert(alignof(gcm_key_data) <= 64 && alignof(crypto_aead_aes256gcm_state) <= 64);

// SP 800-38D 5.2.1.1: at most 2^32 - 2 blocks in one message.
constexpr std::size_t kMaxAesGcmSize = 16ull * ((1ull << 32) - 2);

gcm_key_data& as_ipsec_mb(std::uint8_t* schedule) {
    return *std::launder(reinterpret_cast<gcm_key_data*>(schedule));
}
const gcm_key_data& as_ipsec_mb(const std::uint8_t* schedule) {
    return *std::launder(reinterpret_cast<const gcm_key_data*>(schedule));
}
crypto_aead_aes256gcm_state* as_sodium(std::uint8_t* schedule) {
    return std::launder(reinterpret_cast<crypto_aead_aes256gcm_state*>(schedule));
}
const crypto_aead_aes256gcm_state* as_sodium(const std::uint8_t* schedule) {
    return std::launder(reinterpret_cast<const crypto_aead_aes256gcm_state*>(schedule));
}

// Per-message state of IPSec_MB: key stream and hash of the last block.
struct Context {
    Context() = default;
    ~Context() { wipe({reinterpret_cast<std::uint8_t*>(&value), sizeof value}); }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    gcm_context_data value{};
};

}  // namespace

Aes256Gcm::Aes256Gcm(std::span<const std::uint8_t, kAeadKeySize> key, AesGcmBackend backend)
    : schedule_{}, backend_{backend} {
    switch (backend_) {
        case AesGcmBackend::ipsec_mb:
            ipsec_mb::expand_key(key.data(), as_ipsec_mb(schedule_.data()));
            break;
        case AesGcmBackend::sodium:
            crypto_aead_aes256gcm_beforenm(as_sodium(schedule_.data()), key.data());
            break;
    }
}

Aes256Gcm::~Aes256Gcm() {
    wipe(schedule_);
}

std::expected<void, Error> Aes256Gcm::seal(std::span<const std::uint8_t, kAeadNonceSize> nonce,
                                           Bytes aad, Bytes plaintext, MutableBytes out,
                                           std::span<std::uint8_t, kAeadTagSize> tag) const {
    if (out.size() != plaintext.size() || plaintext.size() > kMaxAesGcmSize) {
        return std::unexpected(Error::bad_size);
    }
    switch (backend_) {
        case AesGcmBackend::ipsec_mb: {
            Context context;
            ipsec_mb::encrypt(as_ipsec_mb(schedule_.data()), context.value, out.data(),
                              plaintext.data(), plaintext.size(), nonce.data(), aad.data(),
                              aad.size(), tag.data());
            break;
        }
        case AesGcmBackend::sodium:
            crypto_aead_aes256gcm_encrypt_detached_afternm(
                non_null(out), tag.data(), nullptr, plaintext.data(), plaintext.size(), aad.data(),
                aad.size(), nullptr, nonce.data(), as_sodium(schedule_.data()));
            break;
    }
    return {};
}

std::expected<void, Error> Aes256Gcm::open(std::span<const std::uint8_t, kAeadNonceSize> nonce,
                                           Bytes aad, Bytes ciphertext,
                                           std::span<const std::uint8_t, kAeadTagSize> tag,
                                           MutableBytes out) const {
    if (out.size() != ciphertext.size() || ciphertext.size() > kMaxAesGcmSize) {
        return std::unexpected(Error::bad_size);
    }
    bool authentic = false;
    switch (backend_) {
        case AesGcmBackend::ipsec_mb: {
            Context context;
            Secret<kAeadTagSize> expected;
            ipsec_mb::decrypt(as_ipsec_mb(schedule_.data()), context.value, out.data(),
                              ciphertext.data(), ciphertext.size(), nonce.data(), aad.data(),
                              aad.size(), expected.mutable_bytes().data());
            authentic = constant_time_equal(expected.bytes(), tag);
            break;
        }
        case AesGcmBackend::sodium:
            authentic =
                crypto_aead_aes256gcm_decrypt_detached_afternm(
                    out.data(), nullptr, non_null(ciphertext), ciphertext.size(), tag.data(),
                    aad.data(), aad.size(), nonce.data(), as_sodium(schedule_.data())) == 0;
            break;
    }
    if (!authentic) {
        wipe(out);
        return std::unexpected(Error::authentication);
    }
    return {};
}

}  // namespace sgm::crypto
