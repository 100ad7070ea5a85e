// SPDX-License-Identifier: MIT
#include "sgx/loader/soft/platform.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sgx/image/image.hpp"

namespace sgm::sgx::soft {
namespace {

// The dependencies of a key, in the order of Intel SDM vol. 3D, EGETKEY; the key is their CMAC
// under the machine's secret. PADDING and SEAL_KEY_FUSES are the CPU's own and left out.
struct KeyDependencies {
    KeyName keyname;                            // 0
    std::uint16_t keypolicy;                    // 2
    std::uint16_t isvprodid;                    // 4
    std::uint16_t isvsvn;                       // 6
    std::uint16_t configsvn;                    // 8
    Reserved<6> reserved;                       // 10
    std::array<std::uint8_t, 16> ownerepoch;    // 16   zero here
    Attributes attributes;                      // 32
    Attributes attributemask;                   // 48
    wire::Digest mrenclave;                     // 64
    wire::Digest mrsigner;                      // 96
    std::array<std::uint8_t, 32> keyid;         // 128
    std::array<std::uint8_t, 16> cpusvn;        // 160
    std::uint32_t miscselect;                   // 176
    std::uint32_t miscmask;                     // 180
    std::uint8_t cet_attributes;                // 184
    std::uint8_t cet_attributes_mask;           // 185
    Reserved<6> reserved_186;                   // 186
    std::array<std::uint8_t, 64> configid;      // 192
    std::array<std::uint8_t, 16> isvfamilyid;   // 256
    std::array<std::uint8_t, 16> isvextprodid;  // 272
};
static_assert(sizeof(KeyDependencies) == 288);

// Random 16 bytes, written whole before they appear under the name.
std::expected<void, std::string> create_fuse_key(const std::filesystem::path& path) {
    Key128 key{};
    std::string unfinished = path.string() + ".XXXXXX";
    if (RAND_priv_bytes(key.data(), static_cast<int>(key.size())) != 1)
        return std::unexpected("OpenSSL has no randomness for the fuse key");
    const int file = ::mkostemp(unfinished.data(), O_CLOEXEC);  // mode 0600
    const bool written =
        file >= 0 && ::write(file, key.data(), key.size()) == static_cast<ssize_t>(key.size()) &&
        ::fsync(file) == 0;
    int error = errno;
    OPENSSL_cleanse(key.data(), key.size());
    if (file >= 0) ::close(file);
    // link, not rename: a key that somebody made in the meantime stays.
    const bool linked =
        written && (::link(unfinished.c_str(), path.c_str()) == 0 || (error = errno) == EEXIST);
    ::unlink(unfinished.c_str());
    if (!linked)
        return std::unexpected(
            fmt::format("{}: cannot make the fuse key: {}", path.string(), std::strerror(error)));
    return {};
}

}  // namespace

FuseKey::FuseKey(std::span<const std::uint8_t, 16> bytes) : bytes_{} {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

FuseKey::FuseKey(FuseKey&& other) noexcept : bytes_{other.bytes_} {
    OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
}

FuseKey::~FuseKey() {
    OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

std::expected<FuseKey, std::string> read_fuse_key(int descriptor) {
    struct stat status{};
    if (::fstat(descriptor, &status) != 0 || (status.st_mode & 077) != 0)
        return std::unexpected("others may read this secret; run `chmod 600` on it");
    auto bytes = read_descriptor(descriptor, 16);
    if (!bytes) return std::unexpected(bytes.error());
    if (bytes->size() != 16) return std::unexpected("a fuse key has 16 bytes");
    FuseKey key{std::span<const std::uint8_t, 16>{*bytes}};
    OPENSSL_cleanse(bytes->data(), bytes->size());
    return key;
}

std::expected<FuseKey, std::string> load_or_create_fuse_key(const std::filesystem::path& path) {
    for (int attempt = 0;; ++attempt) {
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            auto key = read_fuse_key(file);
            ::close(file);
            if (!key) return std::unexpected(fmt::format("{}: {}", path.string(), key.error()));
            return key;
        }
        if (errno != ENOENT || attempt > 0)
            return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
        if (auto created = create_fuse_key(path); !created)
            return std::unexpected(std::move(created.error()));
    }
}

struct Cmac::Cipher {
    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
    ~Cipher() { EVP_CIPHER_CTX_free(context); }
};

Cmac::Cmac() : cipher_{std::make_unique<Cipher>()} {
    // Fetching the algorithm allocates; giving it another key later does not.
    const Key128 zero{};
    if (EVP_EncryptInit_ex2(cipher_->context, EVP_aes_128_ecb(), zero.data(), nullptr, nullptr) !=
            1 ||
        EVP_CIPHER_CTX_set_padding(cipher_->context, 0) != 1)
        std::abort();  // an OpenSSL without AES
}

Cmac::~Cmac() = default;

Key128 Cmac::operator()(std::span<const std::uint8_t, 16> key, Bytes message) const {
    constexpr std::size_t kBlock = 16;
    const auto encrypt = [this](Key128& block) {
        int size = 0;
        if (EVP_EncryptUpdate(cipher_->context, block.data(), &size, block.data(),
                              static_cast<int>(block.size())) != 1 ||
            size != static_cast<int>(kBlock))
            std::abort();
    };
    // Multiplication by x in GF(2^128).
    const auto doubled = [](const Key128& in) {
        Key128 out{};
        for (std::size_t i = 0; i < kBlock; ++i)
            out[i] = static_cast<std::uint8_t>(in[i] << 1 | (i + 1 < kBlock ? in[i + 1] >> 7 : 0));
        out[kBlock - 1] = static_cast<std::uint8_t>(out[kBlock - 1] ^ ((in[0] >> 7) * 0x87));
        return out;
    };

    if (EVP_EncryptInit_ex2(cipher_->context, nullptr, key.data(), nullptr, nullptr) != 1)
        std::abort();
    Key128 subkey{};
    encrypt(subkey);
    subkey = doubled(subkey);

    Key128 state{};
    const auto mix = [&state](Bytes block) {
        for (std::size_t i = 0; i < block.size(); ++i)
            state[i] ^= block[i];
    };
    while (message.size() > kBlock) {
        mix(message.first(kBlock));
        encrypt(state);
        message = message.subspan(kBlock);
    }
    mix(message);
    if (message.size() < kBlock) {
        state[message.size()] ^= 0x80;
        subkey = doubled(subkey);
    }
    mix(subkey);
    encrypt(state);
    OPENSSL_cleanse(subkey.data(), subkey.size());
    return state;
}

SoftPlatform::SoftPlatform(FuseKey key) : key_{std::move(key)}, report_keyid_{} {
    if (RAND_bytes(report_keyid_.data(), static_cast<int>(report_keyid_.size())) != 1)
        std::abort();  // an OpenSSL without randomness
}

Key128 SoftPlatform::report_key(const TargetInfo& target,
                                const std::array<std::uint8_t, 32>& keyid) const {
    KeyDependencies key{};
    key.keyname = KeyName::report;
    key.configsvn = target.configsvn;
    key.attributes = target.attributes;
    key.mrenclave = target.measurement;
    key.keyid = keyid;
    key.cpusvn = kSoftCpuSvn;
    key.miscselect = target.miscselect;
    key.cet_attributes = target.cet_attributes;
    key.configid = target.configid;
    return cmac_(key_.bytes(), bytes_of(key));
}

Report SoftPlatform::create_report(const Secs& secs, const TargetInfo& target,
                                   const ReportData& data) const {
    Report report{};
    report.body.cpusvn = kSoftCpuSvn;
    report.body.miscselect = secs.miscselect;
    report.body.isvextprodid = secs.isvextprodid;
    report.body.attributes = secs.attributes;
    report.body.mrenclave = secs.mrenclave;
    report.body.mrsigner = secs.mrsigner;
    report.body.isvprodid = secs.isvprodid;
    report.body.isvsvn = secs.isvsvn;
    report.body.isvfamilyid = secs.isvfamilyid;
    report.body.report_data = data;
    report.keyid = report_keyid_;
    Key128 key = report_key(target, report.keyid);
    report.mac = cmac_(key, bytes_of(report.body));
    OPENSSL_cleanse(key.data(), key.size());
    return report;
}

bool SoftPlatform::verify_report(const Report& report, const TargetInfo& target) const {
    Key128 key = report_key(target, report.keyid);
    const Key128 mac = cmac_(key, bytes_of(report.body));
    OPENSSL_cleanse(key.data(), key.size());
    return CRYPTO_memcmp(mac.data(), report.mac.data(), mac.size()) == 0;
}

std::expected<Key128, KeyError> SoftPlatform::get_key(const Secs& secs,
                                                      const KeyRequest& request) const {
    if (request.keyname == KeyName::report) {
        TargetInfo self{};
        self.measurement = secs.mrenclave;
        self.attributes = secs.attributes;
        self.miscselect = secs.miscselect;
        return report_key(self, request.keyid);
    }
    if (request.keyname != KeyName::seal) return std::unexpected(KeyError::invalid_keyname);
    // Without KSS, which no enclave of ours has, only the first two policies exist.
    if ((request.keypolicy & ~(kKeyPolicyMrenclave | kKeyPolicyMrsigner)) != 0)
        return std::unexpected(KeyError::invalid_attribute);
    if (request.cpusvn > kSoftCpuSvn) return std::unexpected(KeyError::invalid_cpusvn);
    if (request.isvsvn > secs.isvsvn) return std::unexpected(KeyError::invalid_isvsvn);

    KeyDependencies key{};
    key.keyname = KeyName::seal;
    key.keypolicy = request.keypolicy;
    key.isvprodid = secs.isvprodid;
    key.isvsvn = request.isvsvn;
    // INIT and DEBUG always count, whatever the mask says.
    const std::uint64_t flags_mask = request.attributemask.flags | kAttributeInit | kAttributeDebug;
    key.attributes = {.flags = secs.attributes.flags & flags_mask,
                      .xfrm = secs.attributes.xfrm & request.attributemask.xfrm};
    key.attributemask = request.attributemask;
    if ((request.keypolicy & kKeyPolicyMrenclave) != 0) key.mrenclave = secs.mrenclave;
    if ((request.keypolicy & kKeyPolicyMrsigner) != 0) key.mrsigner = secs.mrsigner;
    key.keyid = request.keyid;
    key.cpusvn = request.cpusvn;
    key.miscselect = secs.miscselect & request.miscmask;
    key.miscmask = request.miscmask;
    return cmac_(key_.bytes(), bytes_of(key));
}

Key128 SoftPlatform::derive(std::string_view label) const {
    // Another length than KeyDependencies: never the same message.
    std::array<std::uint8_t, 80> message{'S', 'G', 'm', 'o', 'n', 'i', 't', 'o',
                                         'r', ' ', 's', 'o', 'f', 't', ' ', ' '};
    const std::size_t size = std::min<std::size_t>(label.size(), 64);
    std::copy_n(label.begin(), size, message.begin() + 16);
    return cmac_(key_.bytes(), Bytes{message}.first(16 + size));
}

}  // namespace sgm::sgx::soft
