// SPDX-License-Identifier: MIT
#include "config/toml_file.hpp"

#include <toml++/toml.h>

#include <deque>
#include <set>

#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"

namespace sgm::config {

// A table of the document, and which of its keys the program has asked for.
struct Table::Node {
    const toml::table* table;
    std::set<std::string, std::less<>> asked = {};
};

struct Table::Document {
    std::filesystem::path path;
    toml::table root;
    std::deque<Node> nodes = {};  // a deque: tables handed out stay where they are
    std::optional<Error> first_refusal = std::nullopt;

    Error at(toml::source_index line, std::string_view reason) const {
        return Error{path.string() + ":" + std::to_string(line) + ": " + std::string{reason}};
    }

    void refuse(toml::source_index line, std::string_view reason) {
        if (!first_refusal) first_refusal = at(line, reason);
    }

    Table view(const toml::table& table) {
        nodes.push_back({.table = &table});
        return Table{this, &nodes.back()};
    }

    // The value of a key, marked as asked for.
    static const toml::node* ask(Node& node, std::string_view key) {
        node.asked.emplace(key);
        return node.table->get(key);
    }

    // The value of a key when it is of the type T; refused when it is of another.
    template <typename T>
    const toml::value<T>* value(Node& node, std::string_view key, std::string_view expected) {
        const toml::node* found = ask(node, key);
        if (found == nullptr) return nullptr;
        if (const auto* value = found->as<T>()) return value;
        refuse(found->source().begin.line,
               "'" + std::string{key} + "' must be " + std::string{expected});
        return nullptr;
    }

    std::filesystem::path resolve(const std::string& text) const {
        return (path.parent_path() / text).lexically_normal();
    }
};

bool Table::has(std::string_view key) const {
    return node_->table->contains(key);
}

void Table::refuse(std::string_view key, std::string_view reason) {
    const toml::node* value = Document::ask(*node_, key);
    document_->refuse((value != nullptr ? value->source() : node_->table->source()).begin.line,
                      reason);
}

void Table::require(std::string_view key) {
    if (!has(key)) refuse(key, "'" + std::string{key} + "' is missing");
}

std::string Table::string(std::string_view key, std::optional<std::string_view> fallback) {
    const auto* value = document_->value<std::string>(*node_, key, "a string");
    if (value != nullptr) {
        if (!value->get().empty()) return value->get();
        refuse(key, "'" + std::string{key} + "' must not be empty");
    } else if (!fallback) {
        require(key);
    }
    return std::string{fallback.value_or("")};
}

bool Table::boolean(std::string_view key, std::optional<bool> fallback) {
    const auto* value = document_->value<bool>(*node_, key, "true or false");
    if (value != nullptr) return value->get();
    if (!fallback) require(key);
    return fallback.value_or(false);
}

std::optional<std::int64_t> Table::integer_between(std::string_view key, std::int64_t min,
                                                   std::int64_t max) {
    const auto* value = document_->value<std::int64_t>(*node_, key, "a whole number");
    if (value == nullptr) return std::nullopt;
    if (value->get() >= min && value->get() <= max) return value->get();
    refuse(key, "'" + std::string{key} + "' must be between " + std::to_string(min) + " and " +
                    std::to_string(max));
    return std::nullopt;
}

std::filesystem::path Table::path(std::string_view key, std::optional<std::string_view> fallback) {
    const std::string text = string(key, fallback);
    return text.empty() ? std::filesystem::path{} : document_->resolve(text);
}

wire::Uuid Table::uuid(std::string_view key) {
    const std::string text = string(key);
    if (const auto uuid = parse_uuid(text)) return *uuid;
    refuse(key, "'" + std::string{key} +
                    "' must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10");
    return {};
}

wire::Digest Table::digest(std::string_view key) {
    wire::Digest digest{};
    if (!parse_hex(string(key), digest)) {
        refuse(key, "'" + std::string{key} + "' must be 64 hexadecimal digits");
    }
    return digest;
}

std::vector<std::string> Table::strings(std::string_view key) {
    const toml::node* found = Document::ask(*node_, key);
    if (found == nullptr) return {};
    const toml::array* array = found->as_array();
    std::vector<std::string> strings;
    if (array != nullptr) {
        for (const toml::node& element : *array) {
            if (const auto* text = element.as_string()) strings.push_back(text->get());
        }
    }
    if (array == nullptr || strings.size() != array->size()) {
        refuse(key, "'" + std::string{key} + "' must be a list of strings");
        return {};
    }
    return strings;
}

wire::SigningKey Table::signing_key(std::string_view key) {
    const std::filesystem::path file = path(key);
    if (file.empty()) return {};
    const auto loaded = load_signing_key(file);
    if (loaded) return *loaded;
    refuse(key, "'" + std::string{key} + "': " + loaded.error().sentence);
    return {};
}

wire::SealingKey Table::sealing_key(std::string_view key) {
    const std::filesystem::path file = path(key);
    if (file.empty()) return {};
    const auto loaded = load_sealing_key(file);
    if (loaded) return *loaded;
    refuse(key, "'" + std::string{key} + "': " + loaded.error().sentence);
    return {};
}

std::vector<Table> Table::tables(std::string_view key) {
    const toml::node* found = Document::ask(*node_, key);
    if (found == nullptr) return {};
    const toml::array* array = found->as_array();
    std::vector<Table> tables;
    if (array != nullptr) {
        for (const toml::node& element : *array) {
            if (const auto* table = element.as_table()) tables.push_back(document_->view(*table));
        }
    }
    if (array == nullptr || tables.size() != array->size()) {
        refuse(key, "'" + std::string{key} + "' must be tables: [[" + std::string{key} + "]]");
        return {};
    }
    return tables;
}

TomlFile::TomlFile(std::unique_ptr<Table::Document> document) : document_{std::move(document)} {}
TomlFile::~TomlFile() = default;
TomlFile::TomlFile(TomlFile&&) noexcept = default;
TomlFile& TomlFile::operator=(TomlFile&&) noexcept = default;

Result<TomlFile> TomlFile::open(const std::filesystem::path& path) {
    const auto text = read_file(path);
    if (!text) return std::unexpected{text.error()};
    return parse(*text, path);
}

Result<TomlFile> TomlFile::parse(std::string_view text, const std::filesystem::path& path) {
    auto document = std::make_unique<Table::Document>(path, toml::table{});
    try {
        document->root = toml::parse(text);
    } catch (const toml::parse_error& error) {
        return std::unexpected{document->at(error.source().begin.line, error.description())};
    }
    return TomlFile{std::move(document)};
}

Table TomlFile::root() {
    return document_->view(document_->root);
}

Result<void> TomlFile::finish() const {
    // A misspelt key is the cause of the missing one, so it is told first. Two views of one table
    // (root() called twice) count together.
    std::map<const toml::table*, std::set<std::string, std::less<>>> asked;
    for (const Table::Node& node : document_->nodes) {
        asked[node.table].insert(node.asked.begin(), node.asked.end());
    }
    const toml::key* unknown = nullptr;
    for (const auto& [table, keys] : asked) {
        for (const auto& [key, value] : *table) {
            if (keys.contains(key.str())) continue;
            if (unknown == nullptr || key.source().begin.line < unknown->source().begin.line) {
                unknown = &key;
            }
        }
    }
    if (unknown != nullptr) {
        return std::unexpected{document_->at(unknown->source().begin.line,
                                             "unknown key '" + std::string{unknown->str()} + "'")};
    }
    if (document_->first_refusal) return std::unexpected{*document_->first_refusal};
    return {};
}

}  // namespace sgm::config
