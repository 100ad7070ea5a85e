// SPDX-License-Identifier: MIT
#include "crypto/ipsec_mb.hpp"

#include <intel-ipsec-mb.h>

#include <cstdio>
#include <cstdlib>

#include "crypto/secret.hpp"
#include "wire/ids.hpp"

namespace sgm::crypto::ipsec_mb {
namespace {

// One table of functions for the whole process, for the best instructions that this CPU has.
// Never freed. Only entries that keep no state in it are used.
const IMB_MGR& manager() {
    static const IMB_MGR* const chosen = [] {
        IMB_MGR* fresh = alloc_mb_mgr(0);
        if (fresh != nullptr) init_mb_mgr_auto(fresh, nullptr);
        if (fresh == nullptr || imb_get_errno(fresh) != 0) {
            std::fprintf(
                stderr, "IPSec_MB cannot run here: %s. It needs a CPU with AES-NI.\n",
                fresh == nullptr ? "out of memory" : imb_get_strerror(imb_get_errno(fresh)));
            std::abort();
        }
        return fresh;
    }();
    return *chosen;
}

}  // namespace

void expand_key(const std::uint8_t* key, gcm_key_data& schedule) {
    manager().gcm256_pre(key, &schedule);
}

void encrypt(const gcm_key_data& schedule, gcm_context_data& context, std::uint8_t* out,
             const std::uint8_t* in, std::size_t size, const std::uint8_t* nonce,
             const std::uint8_t* aad, std::size_t aad_size, std::uint8_t* tag) {
    manager().gcm256_enc(&schedule, &context, out, in, size, nonce, aad, aad_size, tag,
                         wire::kAeadTagSize);
}

void decrypt(const gcm_key_data& schedule, gcm_context_data& context, std::uint8_t* out,
             const std::uint8_t* in, std::size_t size, const std::uint8_t* nonce,
             const std::uint8_t* aad, std::size_t aad_size, std::uint8_t* tag) {
    manager().gcm256_dec(&schedule, &context, out, in, size, nonce, aad, aad_size, tag,
                         wire::kAeadTagSize);
}

void expand_key_128(const std::uint8_t* key, Aes128Schedule& schedule) {
    Aes128Schedule decryption;  // written by the same call, and not wanted
    manager().keyexp_128(key, schedule.data(), decryption.data());
    wipe(decryption);
}

// One block of CFB is the encrypted IV, mixed with the input: here with nothing.
void encrypt_block_128(const Aes128Schedule& schedule, std::uint8_t* block) {
    const std::array<std::uint8_t, 16> nothing{};
    manager().aes128_cfb_one(block, nothing.data(), block, schedule.data(), nothing.size());
}

}  // namespace sgm::crypto::ipsec_mb
