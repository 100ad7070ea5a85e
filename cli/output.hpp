// SPDX-License-Identifier: MIT
// What commands print: tables and records, for people or, with --json, for programs. Each is
// described once for both. Much of the text was chosen by a guest or a host, so every string is
// escaped here, at the last moment, and callers pass it as it came.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace sgm::cli {

// The text with each byte that could act on a terminal or mislead a reader as \xNN: control
// characters, invisible and direction-changing ones, invalid UTF-8, and the backslash itself, so
// that two different texts never look the same.
[[nodiscard]] std::string printable(std::string_view bytes);

enum class Format { text, json };

using Value = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, std::string>;

// `shown` is for people when the plain value is not what they want to read.
struct Cell {
    Value value;
    std::string shown;

    Cell() = default;  // nothing

    template <typename T>
        requires(std::constructible_from<Value, T> && !std::same_as<std::remove_cvref_t<T>, Cell>)
    Cell(T&& v) : value{std::forward<T>(v)}, shown{text_of(value)} {}
    Cell(Value v, std::string s) : value{std::move(v)}, shown{std::move(s)} {}

  private:
    static std::string text_of(const Value& value);
};

enum class Align { left, right };
struct Column {
    std::string key;    // in JSON
    std::string title;  // above the column
    Align align = Align::left;
};

// Text: a heading and one line for each row. JSON: an array of objects.
class Table final {
  public:
    explicit Table(std::vector<Column> columns) : columns_{std::move(columns)} {}
    // One cell for each column.
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] bool empty() const { return rows_.empty(); }
    [[nodiscard]] std::string render(Format format) const;

  private:
    friend class Record;
    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
};

// Text: `title: value` lines, without those that show nothing, then the tables. JSON: one object on
// one line, its tables as arrays.
class Record final {
  public:
    void add(std::string key, std::string title, Cell cell) {
        fields_.push_back({std::move(key), std::move(title), std::move(cell)});
    }
    void add(std::string key, Table table) {
        tables_.emplace_back(std::move(key), std::move(table));
    }
    [[nodiscard]] std::string render(Format format) const;

  private:
    struct Field {
        std::string key;
        std::string title;
        Cell cell;
    };
    std::vector<Field> fields_;
    std::vector<std::pair<std::string, Table>> tables_;
};

}  // namespace sgm::cli
