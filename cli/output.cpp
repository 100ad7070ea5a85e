// SPDX-License-Identifier: MIT
#include "cli/output.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sgm::cli {
namespace {

// The length of the well-formed UTF-8 sequence (Unicode 15, table 3-7) that `text` begins with and
// its code point; length 0 for anything else.
struct CodePoint {
    std::size_t size;
    char32_t value;
};

CodePoint first_code_point(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) return {1, lead};
    std::size_t size = 0;
    char32_t value = 0;
    char32_t smallest = 0;
    if ((lead & 0xe0) == 0xc0) {
        size = 2, value = lead & 0x1fu, smallest = 0x80;
    } else if ((lead & 0xf0) == 0xe0) {
        size = 3, value = lead & 0x0fu, smallest = 0x800;
    } else if ((lead & 0xf8) == 0xf0) {
        size = 4, value = lead & 0x07u, smallest = 0x10000;
    }
    if (size == 0 || text.size() < size) return {0, 0};
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return {0, 0};
        value = value << 6 | (byte(i) & 0x3fu);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < smallest || value > 0x10ffff || surrogate) return {0, 0};
    return {size, value};
}

bool may_mislead(char32_t c) {
    const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
    return c < 0x20 || within(0x7f, 0x9f)  // C0, DEL, C1
           || c == '\\' || c == 0xad       // soft hyphen
           || c == 0x61c || c == 0x180e    // Arabic letter mark, Mongolian vowel separator
           || within(0x200b, 0x200f)       // zero width, direction marks
           || within(0x2028, 0x202e)       // line and paragraph separators, embeddings
           || within(0x2060, 0x206f)       // word joiner, isolates
           || c == 0xfeff                  // zero width no-break space
           || within(0xfff9, 0xfffb)       // interlinear annotation
           || within(0xe0000, 0xe0fff);    // tags
}

std::size_t width(std::string_view utf8) {
    return static_cast<std::size_t>(std::ranges::count_if(
        utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

struct ShownAs {
    std::string operator()(std::monostate) const { return ""; }
    std::string operator()(bool value) const { return value ? "yes" : "no"; }
    std::string operator()(std::int64_t value) const { return std::to_string(value); }
    std::string operator()(std::uint64_t value) const { return std::to_string(value); }
    std::string operator()(const std::string& value) const { return value; }
};

struct JsonOf {
    nlohmann::ordered_json operator()(std::monostate) const { return nullptr; }
    nlohmann::ordered_json operator()(bool value) const { return value; }
    nlohmann::ordered_json operator()(std::int64_t value) const { return value; }
    nlohmann::ordered_json operator()(std::uint64_t value) const { return value; }
    nlohmann::ordered_json operator()(const std::string& value) const { return printable(value); }
};

nlohmann::ordered_json json_of(const Cell& cell) {
    return std::visit(JsonOf{}, cell.value);
}

nlohmann::ordered_json json_of(const std::vector<Column>& columns,
                               const std::vector<std::vector<Cell>>& rows) {
    auto array = nlohmann::ordered_json::array();
    for (const auto& row : rows) {
        nlohmann::ordered_json object;
        for (std::size_t i = 0; i < columns.size(); ++i)
            object[columns[i].key] = json_of(row[i]);
        array.push_back(std::move(object));
    }
    return array;
}

}  // namespace

std::string printable(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const CodePoint c = first_code_point(bytes);
        const std::size_t size = std::max<std::size_t>(c.size, 1);
        if (c.size != 0 && !may_mislead(c.value)) {
            text += bytes.substr(0, size);
        } else {
            for (const char byte : bytes.substr(0, size)) {
                text += "\\x";
                text += digits[static_cast<unsigned char>(byte) >> 4];
                text += digits[static_cast<unsigned char>(byte) & 15];
            }
        }
        bytes.remove_prefix(size);
    }
    return text;
}

std::string Cell::text_of(const Value& value) {
    return std::visit(ShownAs{}, value);
}

std::string Table::render(Format format) const {
    if (format == Format::json) return json_of(columns_, rows_).dump(1) + "\n";
    std::vector<std::vector<std::string>> lines(1);
    for (const Column& column : columns_)
        lines.front().push_back(column.title);
    for (const auto& row : rows_) {
        auto& line = lines.emplace_back();
        for (const Cell& cell : row)
            line.push_back(printable(cell.shown));
    }
    std::vector<std::size_t> widths(columns_.size());
    for (const auto& line : lines) {
        for (std::size_t i = 0; i < widths.size(); ++i) {
            widths[i] = std::max(widths[i], width(line[i]));
        }
    }
    std::string text;
    for (const auto& line : lines) {
        for (std::size_t i = 0; i < widths.size(); ++i) {
            const std::string padding(widths[i] - width(line[i]), ' ');
            if (i != 0) text += "  ";
            if (columns_[i].align == Align::right) {
                text += padding + line[i];
            } else {
                text += line[i];
                if (i + 1 != widths.size()) text += padding;
            }
        }
        text += '\n';
    }
    return text;
}

std::string Record::render(Format format) const {
    if (format == Format::json) {
        nlohmann::ordered_json object;
        for (const Field& field : fields_)
            object[field.key] = json_of(field.cell);
        for (const auto& [key, table] : tables_)
            object[key] = json_of(table.columns_, table.rows_);
        return object.dump() + "\n";
    }
    std::size_t widest = 0;
    for (const Field& field : fields_) {
        if (!field.cell.shown.empty()) widest = std::max(widest, width(field.title));
    }
    std::string text;
    for (const Field& field : fields_) {
        if (field.cell.shown.empty()) continue;
        text += field.title + ":" + std::string(widest - width(field.title) + 1, ' ') +
                printable(field.cell.shown) + "\n";
    }
    for (const auto& [key, table] : tables_)
        text += "\n" + table.render(format);
    return text;
}

}  // namespace sgm::cli
