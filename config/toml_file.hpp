// SPDX-License-Identifier: MIT
// Strict TOML. Getters give the value, or a harmless default and remember the first thing that was
// wrong; `finish` refuses the file for that, and for every key that nobody asked for. So a program
// reads all its settings in a row and checks once:
//
//   auto file = TomlFile::open(path);
//   if (!file) return std::unexpected{file.error()};
//   Table root = file->root();
//   settings.port = root.integer<std::uint16_t>("port", 1, 65535, 7401);
//   if (auto sound = file->finish(); !sound) return std::unexpected{sound.error()};
//
// Each refusal reads `FILE:LINE: reason`. Relative paths are resolved against the file's directory.
#pragma once

#include <concepts>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/error.hpp"
#include "wire/ids.hpp"

namespace sgm::config {

// One table of a file; valid as long as the TomlFile. The getters without a default refuse a
// missing key.
class Table final {
  public:
    [[nodiscard]] bool has(std::string_view key) const;

    [[nodiscard]] std::string string(std::string_view key,
                                     std::optional<std::string_view> fallback = std::nullopt);
    [[nodiscard]] bool boolean(std::string_view key, std::optional<bool> fallback = std::nullopt);

    // Within [min, max], both inclusive and at most 2^63 - 1 (TOML's integers are signed).
    template <std::integral T>
    [[nodiscard]] T integer(std::string_view key, T min, T max,
                            std::optional<T> fallback = std::nullopt) {
        const auto value =
            integer_between(key, static_cast<std::int64_t>(min), static_cast<std::int64_t>(max));
        if (value) return static_cast<T>(*value);
        if (fallback && !has(key)) return *fallback;
        require(key);
        return min;
    }

    [[nodiscard]] std::filesystem::path path(
        std::string_view key, std::optional<std::string_view> fallback = std::nullopt);
    [[nodiscard]] wire::Uuid uuid(std::string_view key);
    [[nodiscard]] wire::Digest digest(std::string_view key);               // 64 hexadecimal digits
    [[nodiscard]] std::vector<std::string> strings(std::string_view key);  // missing: none

    // Public keys in files of their own (config/key_file.hpp); the key names the file.
    [[nodiscard]] wire::SigningKey signing_key(std::string_view key);
    [[nodiscard]] wire::SealingKey sealing_key(std::string_view key);

    // `[[key]]`; missing: none.
    [[nodiscard]] std::vector<Table> tables(std::string_view key);

    // The caller found the value of `key` wrong (or, without that key, the table).
    void refuse(std::string_view key, std::string_view reason);

  private:
    friend class TomlFile;
    struct Document;
    struct Node;
    Table(Document* document, Node* node) : document_{document}, node_{node} {}

    [[nodiscard]] std::optional<std::int64_t> integer_between(std::string_view key,
                                                              std::int64_t min, std::int64_t max);
    void require(std::string_view key);

    Document* document_;
    Node* node_;
};

class TomlFile final {
  public:
    [[nodiscard]] static Result<TomlFile> open(const std::filesystem::path& path);
    // The same from text; `path` names it in refusals and resolves relative paths.
    [[nodiscard]] static Result<TomlFile> parse(std::string_view text,
                                                const std::filesystem::path& path);
    ~TomlFile();
    TomlFile(TomlFile&&) noexcept;
    TomlFile& operator=(TomlFile&&) noexcept;

    [[nodiscard]] Table root();
    [[nodiscard]] Result<void> finish() const;

  private:
    explicit TomlFile(std::unique_ptr<Table::Document> document);
    std::unique_ptr<Table::Document> document_;
};

}  // namespace sgm::config
