// SPDX-License-Identifier: MIT
#include "sgx/enclave/sealing.hpp"

#include "crypto/aead.hpp"
#include "crypto/hash.hpp"
#include "crypto/random.hpp"
#include "crypto/secret.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::enclave {

namespace {

constexpr std::uint16_t kVersion = 1;
// Each key seals one blob: its KEYID is random.
constexpr std::array<std::uint8_t, crypto::kAeadNonceSize> kNonce{};

// The key of the blob with this header, which may be anyone's.
std::expected<crypto::Secret<crypto::kAeadKeySize>, sgx::KeyError> blob_key(
    SealKeys& keys, const wire::SealedBlobHeader& header, Bytes label) {
    crypto::Secret<16> seal_key;
    const auto given = keys.get(SealTo{header.policy}, {header.isv_svn, header.cpusvn},
                                header.keyid, seal_key.mutable_bytes().first<16>());
    if (!given) return std::unexpected(given.error());
    wire::Digest extracted = crypto::hkdf_extract(wire::kSealLabel, seal_key.bytes());
    crypto::Secret<crypto::kAeadKeySize> key;
    // 32 bytes are well below HKDF's bound.
    static_cast<void>(crypto::hkdf_expand(extracted, {label}, key.mutable_bytes()));
    crypto::wipe(extracted);
    return key;
}

}  // namespace

std::expected<std::vector<std::uint8_t>, SealError> seal(SealKeys& keys, SealTo policy, Bytes label,
                                                         Bytes contents) {
    if (contents.size() > wire::kMaxSealedSize) return std::unexpected(SealError::too_large);
    const SealKeys::Versions versions = keys.versions();
    wire::SealedBlobHeader header{.magic = wire::kSealedMagic,
                                  .version = kVersion,
                                  .policy = static_cast<std::uint16_t>(policy),
                                  .isv_svn = versions.isv_svn,
                                  .reserved = 0,
                                  .size = static_cast<std::uint32_t>(contents.size()),
                                  .cpusvn = versions.cpusvn,
                                  .keyid = {}};
    if (!crypto::random_bytes(header.keyid)) return std::unexpected(SealError::no_randomness);
    const auto key = blob_key(keys, header, label);
    if (!key) return std::unexpected(SealError::no_key);

    std::vector<std::uint8_t> blob(contents.size() + wire::kSealedOverhead);
    Writer writer{blob};
    writer.put(header);
    const MutableBytes ciphertext = writer.reserve(contents.size());
    const MutableBytes tag = writer.reserve(wire::kAeadTagSize);
    const crypto::Aes256Gcm cipher{key->bytes().first<crypto::kAeadKeySize>()};
    if (!cipher.seal(kNonce, bytes_of(header), contents, ciphertext,
                     tag.first<wire::kAeadTagSize>())) {
        return std::unexpected(SealError::too_large);
    }
    return blob;
}

std::expected<Unsealed, SealError> unseal(SealKeys& keys, SealTo policy, Bytes label, Bytes blob) {
    Reader reader{blob};
    const auto header = reader.take<wire::SealedBlobHeader>();
    if (!header || header->magic != wire::kSealedMagic || header->version != kVersion ||
        header->reserved != 0 || header->size > wire::kMaxSealedSize ||
        reader.rest().size() != header->size + wire::kAeadTagSize) {
        return std::unexpected(SealError::malformed);
    }
    if (header->policy != static_cast<std::uint16_t>(policy)) {
        return std::unexpected(SealError::other_policy);
    }
    const auto key = blob_key(keys, *header, label);
    if (!key) {
        const bool newer = key.error() == sgx::KeyError::invalid_cpusvn ||
                           key.error() == sgx::KeyError::invalid_isvsvn;
        return std::unexpected(newer ? SealError::newer : SealError::no_key);
    }
    const Bytes ciphertext = reader.rest().first(header->size);
    const Bytes tag = reader.rest().last(wire::kAeadTagSize);
    Unsealed out{.contents = std::vector<std::uint8_t>(ciphertext.size()),
                 .isv_svn = header->isv_svn};
    const crypto::Aes256Gcm cipher{key->bytes().first<crypto::kAeadKeySize>()};
    if (!cipher.open(kNonce, bytes_of(*header), ciphertext, tag.first<wire::kAeadTagSize>(),
                     out.contents)) {
        return std::unexpected(SealError::not_ours);
    }
    return out;
}

}  // namespace sgm::enclave
