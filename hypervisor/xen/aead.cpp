// SPDX-License-Identifier: MIT
// crypto/aead.hpp's AES-256-GCM where neither IPSec_MB nor libsodium's can be: both back ends are
// this one.
#include "crypto/aead.hpp"

#include <new>

#include "crypto/secret.hpp"
#include "hypervisor/xen/aes_gcm.hpp"
#include "hypervisor/xen/shim.h"

namespace sgm::crypto {
namespace {

using xen::AesGcmMessage;
using xen::AesGcmSchedule;

static_assert(sizeof(AesGcmSchedule) <= kAesGcmScheduleSize);

// SP 800-38D 5.2.1.1: at most 2^32 - 2 blocks in one message.
constexpr std::size_t kMaxSize = 16ull * ((1ull << 32) - 2);

const AesGcmSchedule& as_schedule(const std::uint8_t* bytes) {
    return *std::launder(reinterpret_cast<const AesGcmSchedule*>(bytes));
}

// The guest's vector registers stay what they are.
class VectorRegisters final {
  public:
    VectorRegisters() { sgm_xen_vector_begin(); }
    ~VectorRegisters() { sgm_xen_vector_end(); }
    VectorRegisters(const VectorRegisters&) = delete;
    VectorRegisters& operator=(const VectorRegisters&) = delete;
};

}  // namespace

Aes256Gcm::Aes256Gcm(std::span<const std::uint8_t, kAeadKeySize> key, AesGcmBackend backend)
    : schedule_{}, backend_{backend} {
    static_cast<void>(backend_);  // there is but one here
    auto* const schedule = new (schedule_.data()) AesGcmSchedule;
    const VectorRegisters registers;
    xen::aes_gcm_expand(key.data(), *schedule);
}

Aes256Gcm::~Aes256Gcm() {
    wipe(schedule_);
}

std::expected<void, Error> Aes256Gcm::seal(std::span<const std::uint8_t, kAeadNonceSize> nonce,
                                           Bytes aad, Bytes plaintext, MutableBytes out,
                                           std::span<std::uint8_t, kAeadTagSize> tag) const {
    if (out.size() != plaintext.size() || plaintext.size() > kMaxSize) {
        return std::unexpected(Error::bad_size);
    }
    const VectorRegisters registers;
    xen::aes_gcm_encrypt(as_schedule(schedule_.data()), {.nonce = nonce.data(),
                                                         .aad = aad.data(),
                                                         .aad_size = aad.size(),
                                                         .in = plaintext.data(),
                                                         .out = out.data(),
                                                         .size = plaintext.size(),
                                                         .tag = tag.data()});
    return {};
}

std::expected<void, Error> Aes256Gcm::open(std::span<const std::uint8_t, kAeadNonceSize> nonce,
                                           Bytes aad, Bytes ciphertext,
                                           std::span<const std::uint8_t, kAeadTagSize> tag,
                                           MutableBytes out) const {
    if (out.size() != ciphertext.size() || ciphertext.size() > kMaxSize) {
        return std::unexpected(Error::bad_size);
    }
    Secret<kAeadTagSize> expected;
    {
        const VectorRegisters registers;
        xen::aes_gcm_decrypt(as_schedule(schedule_.data()),
                             {.nonce = nonce.data(),
                              .aad = aad.data(),
                              .aad_size = aad.size(),
                              .in = ciphertext.data(),
                              .out = out.data(),
                              .size = ciphertext.size(),
                              .tag = expected.mutable_bytes().data()});
    }
    if (!constant_time_equal(expected.bytes(), tag)) {
        wipe(out);
        return std::unexpected(Error::authentication);
    }
    return {};
}

}  // namespace sgm::crypto
