// SPDX-License-Identifier: MIT
// GHASH as in Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction and its Usage for
// Computing the GCM Mode" (2014): blocks with their bytes reversed, a product of four blocks
// gathered before one reduction. The key schedule as in Gueron, "Intel AES New Instructions"
// (2010).
#include "hypervisor/xen/aes_gcm.hpp"

#include <cpuid.h>
#include <emmintrin.h>
#include <tmmintrin.h>
#include <wmmintrin.h>

#include <cstring>

namespace sgm::xen {
namespace {

using Block = __m128i;
constexpr std::size_t kBlockSize = 16;
constexpr std::size_t kLanes = 4;

Block load(const std::uint8_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const Block*>(from));
}
void store(std::uint8_t* to, Block block) {
    _mm_storeu_si128(reinterpret_cast<Block*>(to), block);
}
Block reversed(Block block) {
    return _mm_shuffle_epi8(block,
                            _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

// The first `size` bytes, then zeros.
Block load_part(const std::uint8_t* from, std::size_t size) {
    std::uint8_t bytes[kBlockSize] = {};
    std::memcpy(bytes, from, size);
    return load(bytes);
}

struct Aes {
    Block keys[15];

    explicit Aes(const AesGcmSchedule& schedule) {
        for (std::size_t i = 0; i < 15; ++i)
            keys[i] = load(schedule.round_keys[i].data());
    }
    [[nodiscard]] Block encrypt(Block block) const {
        block = _mm_xor_si128(block, keys[0]);
        for (std::size_t i = 1; i < 14; ++i)
            block = _mm_aesenc_si128(block, keys[i]);
        return _mm_aesenclast_si128(block, keys[14]);
    }
    void encrypt(Block (&blocks)[kLanes]) const {
        for (Block& block : blocks)
            block = _mm_xor_si128(block, keys[0]);
        for (std::size_t i = 1; i < 14; ++i) {
            for (Block& block : blocks)
                block = _mm_aesenc_si128(block, keys[i]);
        }
        for (Block& block : blocks)
            block = _mm_aesenclast_si128(block, keys[14]);
    }
};

// A carry-less product of 256 bits, or a sum of such.
struct Product {
    Block low = _mm_setzero_si128();
    Block middle = _mm_setzero_si128();
    Block high = _mm_setzero_si128();

    void add(Block a, Block b) {
        low = _mm_xor_si128(low, _mm_clmulepi64_si128(a, b, 0x00));
        high = _mm_xor_si128(high, _mm_clmulepi64_si128(a, b, 0x11));
        middle = _mm_xor_si128(middle, _mm_clmulepi64_si128(a, b, 0x10));
        middle = _mm_xor_si128(middle, _mm_clmulepi64_si128(a, b, 0x01));
    }

    // Modulo x^128 + x^7 + x^2 + x + 1, in the bit order of GCM.
    [[nodiscard]] Block reduced() const {
        Block lower = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
        Block upper = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
        // The product of two bit-reversed numbers is short of one shift to the left.
        const Block carry_lower = _mm_srli_epi32(lower, 31);
        const Block carry_upper = _mm_srli_epi32(upper, 31);
        lower = _mm_or_si128(_mm_slli_epi32(lower, 1), _mm_slli_si128(carry_lower, 4));
        upper = _mm_or_si128(_mm_slli_epi32(upper, 1), _mm_slli_si128(carry_upper, 4));
        upper = _mm_or_si128(upper, _mm_srli_si128(carry_lower, 12));

        Block fold = _mm_xor_si128(_mm_slli_epi32(lower, 31), _mm_slli_epi32(lower, 30));
        fold = _mm_xor_si128(fold, _mm_slli_epi32(lower, 25));
        const Block fold_high = _mm_srli_si128(fold, 4);
        lower = _mm_xor_si128(lower, _mm_slli_si128(fold, 12));
        Block rest = _mm_xor_si128(_mm_srli_epi32(lower, 1), _mm_srli_epi32(lower, 2));
        rest = _mm_xor_si128(rest, _mm_srli_epi32(lower, 7));
        rest = _mm_xor_si128(rest, fold_high);
        return _mm_xor_si128(upper, _mm_xor_si128(lower, rest));
    }
};

Block multiply(Block a, Block b) {
    Product product;
    product.add(a, b);
    return product.reduced();
}

class Ghash {
  public:
    explicit Ghash(const AesGcmSchedule& schedule) {
        for (std::size_t i = 0; i < kLanes; ++i)
            powers_[i] = load(schedule.hash_keys[i].data());
    }
    void add(Block block) { state_ = multiply(_mm_xor_si128(state_, reversed(block)), powers_[0]); }
    void add(const Block (&blocks)[kLanes]) {
        Product product;
        product.add(_mm_xor_si128(state_, reversed(blocks[0])), powers_[3]);
        product.add(reversed(blocks[1]), powers_[2]);
        product.add(reversed(blocks[2]), powers_[1]);
        product.add(reversed(blocks[3]), powers_[0]);
        state_ = product.reduced();
    }
    void add_bytes(const std::uint8_t* bytes, std::size_t size) {
        for (; size >= kBlockSize; bytes += kBlockSize, size -= kBlockSize)
            add(load(bytes));
        if (size != 0) add(load_part(bytes, size));
    }
    [[nodiscard]] Block finish(std::uint64_t aad_size, std::uint64_t size) {
        const std::uint64_t aad_bits = aad_size * 8;
        const std::uint64_t bits = size * 8;
        const Block lengths =
            _mm_set_epi64x(static_cast<std::int64_t>(aad_bits), static_cast<std::int64_t>(bits));
        state_ = multiply(_mm_xor_si128(state_, lengths), powers_[0]);
        return reversed(state_);
    }

  private:
    Block powers_[kLanes];  // H, H^2, H^3, H^4
    Block state_ = _mm_setzero_si128();
};

// Counter blocks: nonce | 32-bit big-endian counter. Kept with bytes reversed, so that the counter
// is the lowest word.
class Counter {
  public:
    explicit Counter(const std::uint8_t* nonce) {
        std::uint8_t block[kBlockSize] = {};
        std::memcpy(block, nonce, 12);
        block[15] = 1;
        value_ = reversed(load(block));
    }
    [[nodiscard]] Block next() {
        const Block now = reversed(value_);
        value_ = _mm_add_epi32(value_, _mm_set_epi32(0, 0, 0, 1));
        return now;
    }

  private:
    Block value_;
};

template <bool kEncrypt>
void run(const AesGcmSchedule& schedule, const AesGcmMessage& message) {
    const Aes aes{schedule};
    Ghash hash{schedule};
    Counter counter{message.nonce};
    const Block tag_mask = aes.encrypt(counter.next());
    hash.add_bytes(message.aad, message.aad_size);

    const std::uint8_t* in = message.in;
    std::uint8_t* out = message.out;
    std::size_t left = message.size;
    while (left >= kLanes * kBlockSize) {
        Block stream[kLanes];
        for (Block& block : stream)
            block = counter.next();
        aes.encrypt(stream);
        Block input[kLanes];
        Block output[kLanes];
        for (std::size_t i = 0; i < kLanes; ++i) {
            input[i] = load(in + i * kBlockSize);
            output[i] = _mm_xor_si128(input[i], stream[i]);
            store(out + i * kBlockSize, output[i]);
        }
        hash.add(kEncrypt ? output : input);
        in += kLanes * kBlockSize;
        out += kLanes * kBlockSize;
        left -= kLanes * kBlockSize;
    }
    while (left != 0) {
        const std::size_t size = left < kBlockSize ? left : kBlockSize;
        const Block input = load_part(in, size);
        std::uint8_t bytes[kBlockSize];
        store(bytes, _mm_xor_si128(input, aes.encrypt(counter.next())));
        std::memcpy(out, bytes, size);
        hash.add(kEncrypt ? load_part(bytes, size) : input);
        in += size;
        out += size;
        left -= size;
    }
    store(message.tag, _mm_xor_si128(hash.finish(message.aad_size, message.size), tag_mask));
}

// One step of the schedule: `assist` is AESKEYGENASSIST of the key before, the wanted word of it in
// all four places.
Block next_key(Block key, Block assist) {
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, assist);
}

template <int kRound>
void expand_pair(Block& even, Block& odd) {
    even = next_key(even, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, kRound), 0xff));
    odd = next_key(odd, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa));
}

}  // namespace

bool cpu_has_aes_gcm() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kWanted = bit_AES | bit_PCLMUL | bit_SSSE3;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & kWanted) == kWanted;
}

void aes_gcm_expand(const std::uint8_t* key, AesGcmSchedule& schedule) {
    Block even = load(key);
    Block odd = load(key + kBlockSize);
    std::size_t at = 0;
    const auto keep = [&] {
        store(schedule.round_keys[at++].data(), even);
        if (at < schedule.round_keys.size()) store(schedule.round_keys[at++].data(), odd);
    };
    keep();
    expand_pair<0x01>(even, odd);
    keep();
    expand_pair<0x02>(even, odd);
    keep();
    expand_pair<0x04>(even, odd);
    keep();
    expand_pair<0x08>(even, odd);
    keep();
    expand_pair<0x10>(even, odd);
    keep();
    expand_pair<0x20>(even, odd);
    keep();
    expand_pair<0x40>(even, odd);
    keep();

    const Block h = reversed(Aes{schedule}.encrypt(_mm_setzero_si128()));
    Block power = h;
    for (auto& hash_key : schedule.hash_keys) {
        store(hash_key.data(), power);
        power = multiply(power, h);
    }
}

void aes_gcm_encrypt(const AesGcmSchedule& schedule, const AesGcmMessage& message) {
    run<true>(schedule, message);
}

void aes_gcm_decrypt(const AesGcmSchedule& schedule, const AesGcmMessage& message) {
    run<false>(schedule, message);
}

}  // namespace sgm::xen
