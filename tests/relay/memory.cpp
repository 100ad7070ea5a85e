// SPDX-License-Identifier: MIT
#include "tests/relay/memory.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"

// What the linker calls libsodium's own functions, and what it calls in place of them (--wrap).
extern "C" {
int real_scalarmult(unsigned char* q, const unsigned char* n,
                    const unsigned char* p) asm("__real_crypto_scalarmult_curve25519");
int real_scalarmult_base(unsigned char* q,
                         const unsigned char* n) asm("__real_crypto_scalarmult_curve25519_base");
int real_seed_keypair(unsigned char* pk, unsigned char* sk,
                      const unsigned char* seed) asm("__real_crypto_sign_ed25519_seed_keypair");
int real_sign(unsigned char* sig, unsigned long long* sig_size, const unsigned char* m,
              unsigned long long m_size,
              const unsigned char* sk) asm("__real_crypto_sign_ed25519_detached");
int real_verify(const unsigned char* sig, const unsigned char* m, unsigned long long m_size,
                const unsigned char* pk) asm("__real_crypto_sign_ed25519_verify_detached");

int scalarmult(unsigned char* q, const unsigned char* n,
               const unsigned char* p) asm("__wrap_crypto_scalarmult_curve25519");
int scalarmult_base(unsigned char* q,
                    const unsigned char* n) asm("__wrap_crypto_scalarmult_curve25519_base");
int seed_keypair(unsigned char* pk, unsigned char* sk,
                 const unsigned char* seed) asm("__wrap_crypto_sign_ed25519_seed_keypair");
int sign(unsigned char* sig, unsigned long long* sig_size, const unsigned char* m,
         unsigned long long m_size,
         const unsigned char* sk) asm("__wrap_crypto_sign_ed25519_detached");
int verify(const unsigned char* sig, const unsigned char* m, unsigned long long m_size,
           const unsigned char* pk) asm("__wrap_crypto_sign_ed25519_verify_detached");
}

namespace sgm::relay {
namespace {

// A case has some dozens, and its neighbours have the same.
constexpr std::size_t kPlaces = 4096;

enum class Operation : std::uint8_t { scalarmult, scalarmult_base, seed_keypair, sign, verify };

struct Remembered {
    std::vector<std::uint8_t> input;  // empty: none
    std::array<std::uint8_t, 96> output;
    int status;
};

std::vector<Remembered> memory;

// `carry_out` writes `output`, at most 96 bytes, and returns the status.
template <typename CarryOut>
int recall(Operation operation, std::initializer_list<Bytes> inputs, MutableBytes output,
           CarryOut carry_out) {
    if (memory.empty()) return carry_out();
    static std::vector<std::uint8_t> input;
    input.assign(1, static_cast<std::uint8_t>(operation));
    for (const Bytes part : inputs)
        input.insert(input.end(), part.begin(), part.end());
    const std::string_view text{reinterpret_cast<const char*>(input.data()), input.size()};
    Remembered& place = memory[std::hash<std::string_view>{}(text) % kPlaces];
    if (place.input != input) {
        place.status = carry_out();
        place.input = input;
        std::ranges::copy(output, place.output.begin());
    } else {
        std::ranges::copy(Bytes{place.output}.first(output.size()), output.begin());
    }
    return place.status;
}

}  // namespace

void remember_public_key_operations() {
    memory.resize(kPlaces);
}

}  // namespace sgm::relay

using sgm::Bytes;
using sgm::MutableBytes;
using sgm::relay::Operation;
using sgm::relay::recall;

int scalarmult(unsigned char* q, const unsigned char* n, const unsigned char* p) {
    return recall(Operation::scalarmult, {Bytes{n, 32}, Bytes{p, 32}}, MutableBytes{q, 32},
                  [=] { return real_scalarmult(q, n, p); });
}

int scalarmult_base(unsigned char* q, const unsigned char* n) {
    return recall(Operation::scalarmult_base, {Bytes{n, 32}}, MutableBytes{q, 32},
                  [=] { return real_scalarmult_base(q, n); });
}

int seed_keypair(unsigned char* pk, unsigned char* sk, const unsigned char* seed) {
    // libsodium's secret key is the seed and the public key.
    const int status = recall(Operation::seed_keypair, {Bytes{seed, 32}}, MutableBytes{sk, 64},
                              [=] { return real_seed_keypair(pk, sk, seed); });
    std::copy_n(sk + 32, 32, pk);
    return status;
}

// Who calls it here asks for no size.
int sign(unsigned char* sig, unsigned long long* sig_size, const unsigned char* m,
         unsigned long long m_size, const unsigned char* sk) {
    return recall(Operation::sign, {Bytes{m, m_size}, Bytes{sk, 64}}, MutableBytes{sig, 64},
                  [=] { return real_sign(sig, sig_size, m, m_size, sk); });
}

int verify(const unsigned char* sig, const unsigned char* m, unsigned long long m_size,
           const unsigned char* pk) {
    return recall(Operation::verify, {Bytes{sig, 64}, Bytes{m, m_size}, Bytes{pk, 32}}, {},
                  [=] { return real_verify(sig, m, m_size, pk); });
}
