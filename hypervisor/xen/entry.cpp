// SPDX-License-Identifier: MIT
// Where shim.c enters the C++: one hypervisor, made at boot, that serves one call at a time.
#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "crypto/aead.hpp"
#include "crypto/hash.hpp"
#include "crypto/keys.hpp"
#include "crypto/random.hpp"
#include "hypervisor/core/core.hpp"
#include "hypervisor/xen/aes_gcm.hpp"
#include "hypervisor/xen/known_answers.hpp"
#include "hypervisor/xen/port.hpp"
#include "hypervisor/xen/shim.h"
#include "wire/xen_op.h"

namespace {

using sgm::Bytes;
using sgm::MutableBytes;

static_assert(SGM_XEN_MAX_CALL == sgm::hypervisor::kMaxCallSize);
static_assert(SGM_XEN_MAX_REPLY == sgm::hypervisor::kMaxReplySize);

struct Hypervisor {
    sgm::xen::XenPort port;
    sgm::hypervisor::Core core;
#ifdef SGM_XEN_TEST_BUILD
    sgm::hypervisor::Operations plain_operations{port};
#endif

    Hypervisor(sgm::crypto::SealingKeyPair key_pair, const sgm::wire::SigningKey& authority,
               bool allow_software_sgx)
        : core{port, std::move(key_pair), authority, allow_software_sgx} {}
};

constinit Hypervisor* hypervisor = nullptr;

}  // namespace

extern "C" {

uint64_t sgm_xen_memory_size() {
    return sizeof(Hypervisor);
}

uint32_t sgm_xen_start(void* memory, const uint8_t* authority, uint32_t allow_software_sgx,
                       sgm_xen_keys* keys) {
    if (authority == nullptr) return SGM_XEN_NO_AUTHORITY;
    if (!sgm::xen::cpu_has_aes_gcm()) return SGM_XEN_NO_AES;
    std::uint8_t fault = 0;
#ifdef SGM_XEN_TEST_BUILD
    fault = sgm_xen_wants_wrong_answers() != 0 ? 1 : 0;
#endif
    if (!sgm::xen::cryptography_gives_known_answers(fault)) return SGM_XEN_SELF_TEST_FAILED;
    auto key_pair = sgm::crypto::SealingKeyPair::generate();
    if (!key_pair) return SGM_XEN_NO_RANDOMNESS;

    std::ranges::copy(key_pair->public_key(), keys->public_key);
    std::ranges::copy(sgm::crypto::sha256(key_pair->public_key()), keys->key_id);
    sgm::wire::SigningKey authority_key;
    std::copy_n(authority, authority_key.size(), authority_key.begin());
    hypervisor =
        new (memory) Hypervisor{std::move(*key_pair), authority_key, allow_software_sgx != 0};
    return SGM_XEN_ON;
}

uint32_t sgm_xen_serve(const uint8_t* call, uint32_t size, uint8_t* reply) {
    const std::size_t reply_size =
        hypervisor->core.sgm_op(Bytes{call, size}, MutableBytes{reply, SGM_XEN_MAX_REPLY});
    hypervisor->port.end_call();
    return static_cast<uint32_t>(reply_size);
}

#ifdef SGM_XEN_TEST_BUILD
uint32_t sgm_xen_serve_plain(domain* d, const uint8_t* batch, uint32_t size, uint8_t* answer,
                             uint32_t capacity) {
    sgm::xen::XenDomain subject;
    subject.bind(d, {});
    return static_cast<uint32_t>(
        hypervisor->plain_operations
            .execute(subject, Bytes{batch, size}, MutableBytes{answer, capacity})
            .value_or(0));
}

void sgm_xen_seal_for_test(uint8_t* buffer, uint32_t size, uint32_t unsaved) {
    constexpr std::array<uint8_t, 32> kKey{1};
    constexpr std::array<uint8_t, 12> kNonce{};
    std::array<uint8_t, 16> tag;
    const sgm::crypto::Aes256Gcm cipher{kKey};
    if (unsaved == 0) {
        static_cast<void>(cipher.seal(kNonce, {}, {buffer, size}, {buffer, size}, tag));
        return;
    }
    // What seal() does, but for the saving. The registers are within reach all the same.
    __asm__ volatile("clts");
    sgm::xen::AesGcmSchedule schedule;
    sgm::xen::aes_gcm_expand(kKey.data(), schedule);
    sgm::xen::aes_gcm_encrypt(schedule, {.nonce = kNonce.data(),
                                         .aad = nullptr,
                                         .aad_size = 0,
                                         .in = buffer,
                                         .out = buffer,
                                         .size = size,
                                         .tag = tag.data()});
}
#endif

uint32_t sgm_xen_open_sessions() {
    if (hypervisor == nullptr) return 0;
    return static_cast<uint32_t>(
        std::ranges::count_if(hypervisor->core.sessions(), &sgm::hypervisor::Session::is_open));
}

}  // extern "C"
