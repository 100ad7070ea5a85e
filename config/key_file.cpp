// SPDX-License-Identifier: MIT
#include "config/key_file.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>

#include "config/text.hpp"
#include "crypto/secret.hpp"

namespace sgm::config {
namespace {

constexpr std::string_view kSigningPrivate = "sgmonitor ed25519 private";
constexpr std::string_view kSigningPublic = "sgmonitor ed25519 public";
constexpr std::string_view kSealingPrivate = "sgmonitor x25519 private";
constexpr std::string_view kSealingPublic = "sgmonitor x25519 public";

std::unexpected<Error> bad_key(const std::filesystem::path& path, int line, std::string reason) {
    return std::unexpected{
        Error{path.string() + ":" + std::to_string(line) + ": " + std::move(reason)}};
}

void wipe_text(std::string& text) {
    crypto::wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
}

Result<crypto::Secret<32>> parse_key(const std::filesystem::path& path, std::string_view text,
                                     std::string_view kind) {
    const std::size_t end_of_kind = text.find('\n');
    const std::string_view found = text.substr(0, end_of_kind);
    if (found != kind) {
        if (!found.starts_with("sgmonitor ") || found.size() > 40) {
            return bad_key(path, 1, "not a key file: expected '" + std::string{kind} + "'");
        }
        return bad_key(path, 1,
                       "wrong key: this file holds '" + std::string{found} + "', expected '" +
                           std::string{kind} + "'");
    }
    std::string_view digits =
        end_of_kind == std::string_view::npos ? std::string_view{} : text.substr(end_of_kind + 1);
    if (digits.ends_with('\n')) digits.remove_suffix(1);
    crypto::Secret<32> key;
    if (!parse_hex(digits, key.mutable_bytes())) {
        return bad_key(path, 2, "expected exactly 64 hexadecimal digits, the key");
    }
    return key;
}

Result<crypto::Secret<32>> load_private_key(const std::filesystem::path& path,
                                            std::string_view kind) {
    auto text = read_private_file(path);
    if (!text) {
        // A public key in its place is the wrong kind, whatever its mode.
        if (const auto open = read_file(path);
            open && (open->starts_with(kSigningPublic) || open->starts_with(kSealingPublic))) {
            return parse_key(path, *open, kind);
        }
        return std::unexpected{text.error()};
    }
    auto key = parse_key(path, *text, kind);
    wipe_text(*text);
    return key;
}

Result<std::array<std::uint8_t, 32>> load_public_key(const std::filesystem::path& path,
                                                     std::string_view kind) {
    const auto text = read_file(path);
    if (!text) return std::unexpected{text.error()};
    const auto parsed = parse_key(path, *text, kind);
    if (!parsed) return std::unexpected{parsed.error()};
    std::array<std::uint8_t, 32> key;
    std::ranges::copy(parsed->bytes(), key.begin());
    return key;
}

Result<void> save_key(const std::filesystem::path& path, std::string_view kind, Bytes key,
                      mode_t mode, IfExists if_exists) {
    std::string digits = to_hex(key);
    std::string text;
    text.reserve(kind.size() + digits.size() + 2);  // never moved, so that one wipe is enough
    text.append(kind).append("\n").append(digits).append("\n");
    auto written = write_file(path, text, mode, if_exists);
    wipe_text(digits);
    wipe_text(text);
    return written;
}

std::filesystem::path with_ending(const std::filesystem::path& stem, std::string_view ending) {
    return stem.string() + std::string{ending};
}

template <typename Pair>
Result<Pair> create_pair(const std::filesystem::path& stem) {
    auto pair = Pair::generate();
    if (!pair) {
        return std::unexpected{Error{"cannot make the key " + stem.string() +
                                     ".key: " + std::string{crypto::text(pair.error())}}};
    }
    if (auto saved = save(with_ending(stem, ".key"), *pair); !saved) {
        return std::unexpected{saved.error()};
    }
    constexpr std::string_view kind =
        std::is_same_v<Pair, crypto::SigningKeyPair> ? kSigningPublic : kSealingPublic;
    if (auto saved =
            save_key(with_ending(stem, ".pub"), kind, pair->public_key(), 0644, IfExists::refuse);
        !saved) {
        return std::unexpected{saved.error()};
    }
    return std::move(*pair);
}

}  // namespace

Result<crypto::SigningKeyPair> load_signing_key_pair(const std::filesystem::path& path) {
    const auto seed = load_private_key(path, kSigningPrivate);
    if (!seed) return std::unexpected{seed.error()};
    return crypto::SigningKeyPair::from_seed(seed->bytes().first<32>());
}

Result<crypto::SealingKeyPair> load_sealing_key_pair(const std::filesystem::path& path) {
    const auto key = load_private_key(path, kSealingPrivate);
    if (!key) return std::unexpected{key.error()};
    return crypto::SealingKeyPair::from_private(key->bytes().first<32>());
}

Result<wire::SigningKey> load_signing_key(const std::filesystem::path& path) {
    return load_public_key(path, kSigningPublic);
}

Result<wire::SealingKey> load_sealing_key(const std::filesystem::path& path) {
    return load_public_key(path, kSealingPublic);
}

Result<void> save(const std::filesystem::path& path, const crypto::SigningKeyPair& pair,
                  IfExists if_exists) {
    return save_key(path, kSigningPrivate, pair.seed(), 0600, if_exists);
}

Result<void> save(const std::filesystem::path& path, const crypto::SealingKeyPair& pair,
                  IfExists if_exists) {
    return save_key(path, kSealingPrivate, pair.private_key(), 0600, if_exists);
}

Result<void> save_signing_key(const std::filesystem::path& path, const wire::SigningKey& key,
                              IfExists if_exists) {
    return save_key(path, kSigningPublic, key, 0644, if_exists);
}

Result<void> save_sealing_key(const std::filesystem::path& path, const wire::SealingKey& key,
                              IfExists if_exists) {
    return save_key(path, kSealingPublic, key, 0644, if_exists);
}

Result<crypto::SigningKeyPair> create_signing_key_pair(const std::filesystem::path& stem) {
    return create_pair<crypto::SigningKeyPair>(stem);
}

Result<crypto::SealingKeyPair> create_sealing_key_pair(const std::filesystem::path& stem) {
    return create_pair<crypto::SealingKeyPair>(stem);
}

}  // namespace sgm::config
