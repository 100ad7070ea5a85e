// SPDX-License-Identifier: MIT
// CPUID faults in an enclave, and a hint from the host could not be believed, so the AVX2 code is
// called by name. It also needs AES-NI and PCLMULQDQ. The signed XFRM of our enclave demands AVX
// state, and every SGX CPU that has AVX has AVX2, AES-NI and PCLMULQDQ (SGX begins with Skylake);
// on one that has not, the enclave faults and nothing is lost but the service. What takes AVX-512's
// state, which the signature leaves open, is used when use_wide_aes() says so.
#include "crypto/ipsec_mb.hpp"

#include <intel-ipsec-mb.h>

#include <atomic>

#include "crypto/wide_aes.hpp"
#include "wire/ids.hpp"

// Internal names of libipsec-mb 1.3 (lib/include/gcm.h, aes_keyexp and aes128_cfb), for which it
// has no header.
extern "C" {
void aes_keyexp_256_enc_avx2(const void* key, void* encryption_schedule);
void aes_gcm_precomp_256_avx_gen4(gcm_key_data* schedule);
void aes_gcm_enc_256_avx_gen4(const gcm_key_data* schedule, gcm_context_data* context,
                              std::uint8_t* out, const std::uint8_t* in, std::uint64_t size,
                              const std::uint8_t* nonce, const std::uint8_t* aad,
                              std::uint64_t aad_size, std::uint8_t* tag, std::uint64_t tag_size);
void aes_gcm_dec_256_avx_gen4(const gcm_key_data* schedule, gcm_context_data* context,
                              std::uint8_t* out, const std::uint8_t* in, std::uint64_t size,
                              const std::uint8_t* nonce, const std::uint8_t* aad,
                              std::uint64_t aad_size, std::uint8_t* tag, std::uint64_t tag_size);
void aes_gcm_precomp_256_vaes_avx512(gcm_key_data* schedule);
void aes_gcm_enc_256_vaes_avx512(const gcm_key_data* schedule, gcm_context_data* context,
                                 std::uint8_t* out, const std::uint8_t* in, std::uint64_t size,
                                 const std::uint8_t* nonce, const std::uint8_t* aad,
                                 std::uint64_t aad_size, std::uint8_t* tag, std::uint64_t tag_size);
void aes_gcm_dec_256_vaes_avx512(const gcm_key_data* schedule, gcm_context_data* context,
                                 std::uint8_t* out, const std::uint8_t* in, std::uint64_t size,
                                 const std::uint8_t* nonce, const std::uint8_t* aad,
                                 std::uint64_t aad_size, std::uint8_t* tag, std::uint64_t tag_size);
void aes_keyexp_128_enc_avx2(const void* key, void* encryption_schedule);
void aes_cfb_128_one_avx2(void* out, const void* in, const void* iv, const void* schedule,
                          std::uint64_t size);

// Asked for by IPSec_MB's imb_get_strerror, which nothing here calls: the linker drops both.
const char* strerror(int) {
    return "";
}
}

namespace sgm::crypto {
namespace {

constinit std::atomic<bool> is_wide = false;

// Which of two the enclave runs.
template <typename F>
F* chosen(F* wide, F* usual) {
    return is_wide.load(std::memory_order_relaxed) ? wide : usual;
}

}  // namespace

void use_wide_aes() {
    is_wide = true;
}

namespace ipsec_mb {

void expand_key(const std::uint8_t* key, gcm_key_data& schedule) {
    aes_keyexp_256_enc_avx2(key, schedule.expanded_keys);
    chosen(aes_gcm_precomp_256_vaes_avx512, aes_gcm_precomp_256_avx_gen4)(&schedule);
}

void encrypt(const gcm_key_data& schedule, gcm_context_data& context, std::uint8_t* out,
             const std::uint8_t* in, std::size_t size, const std::uint8_t* nonce,
             const std::uint8_t* aad, std::size_t aad_size, std::uint8_t* tag) {
    chosen(aes_gcm_enc_256_vaes_avx512, aes_gcm_enc_256_avx_gen4)(
        &schedule, &context, out, in, size, nonce, aad, aad_size, tag, wire::kAeadTagSize);
}

void decrypt(const gcm_key_data& schedule, gcm_context_data& context, std::uint8_t* out,
             const std::uint8_t* in, std::size_t size, const std::uint8_t* nonce,
             const std::uint8_t* aad, std::size_t aad_size, std::uint8_t* tag) {
    chosen(aes_gcm_dec_256_vaes_avx512, aes_gcm_dec_256_avx_gen4)(
        &schedule, &context, out, in, size, nonce, aad, aad_size, tag, wire::kAeadTagSize);
}

void expand_key_128(const std::uint8_t* key, Aes128Schedule& schedule) {
    aes_keyexp_128_enc_avx2(key, schedule.data());
}

// One block of CFB is the encrypted IV, mixed with the input: here with nothing.
void encrypt_block_128(const Aes128Schedule& schedule, std::uint8_t* block) {
    const std::array<std::uint8_t, 16> nothing{};
    aes_cfb_128_one_avx2(block, nothing.data(), block, schedule.data(), nothing.size());
}

}  // namespace ipsec_mb
}  // namespace sgm::crypto
