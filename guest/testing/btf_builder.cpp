// SPDX-License-Identifier: MIT
#include "guest/testing/btf_builder.hpp"

#include <algorithm>
#include <cstring>

namespace sgm::guest::testing {

std::uint32_t BtfBuilder::string(std::string_view text) {
    if (text.empty()) return 0;
    const auto offset = static_cast<std::uint32_t>(strings_.size());
    strings_.insert(strings_.end(), text.begin(), text.end());
    strings_.push_back(0);
    return offset;
}

std::uint32_t BtfBuilder::raw(std::uint32_t kind, std::string_view name, std::uint32_t vlen,
                              std::uint32_t size_or_type, const std::vector<std::uint32_t>& words,
                              bool kind_flag) {
    types_.push_back(string(name));
    types_.push_back((kind_flag ? 1u << 31 : 0) | kind << 24 | vlen);
    types_.push_back(size_or_type);
    types_.insert(types_.end(), words.begin(), words.end());
    return ++count_;
}

std::uint32_t BtfBuilder::integer(std::string_view name, std::uint32_t size) {
    return raw(1, name, 0, size, {size * 8});
}

std::uint32_t BtfBuilder::pointer(std::uint32_t to) {
    return raw(2, {}, 0, to, {});
}

std::uint32_t BtfBuilder::array(std::uint32_t of, std::uint32_t count) {
    return raw(3, {}, 0, 0, {of, of, count});
}

std::uint32_t BtfBuilder::qualifier(std::uint32_t kind, std::uint32_t of, std::string_view name) {
    return raw(kind, name, 0, of, {});
}

std::uint32_t BtfBuilder::structure(std::string_view name, std::uint32_t size,
                                    const std::vector<Member>& members, bool is_union) {
    const bool kind_flag =
        std::ranges::any_of(members, [](const Member& member) { return member.bit_size != 0; });
    std::vector<std::uint32_t> words;
    for (const Member& member : members) {
        words.push_back(string(member.name));
        words.push_back(member.type);
        words.push_back((member.offset * 8 + member.extra_bits) | member.bit_size << 24);
    }
    return raw(is_union ? 5 : 4, name, static_cast<std::uint32_t>(members.size()), size, words,
               kind_flag);
}

std::vector<std::uint8_t> BtfBuilder::build() const {
    const auto types_size = static_cast<std::uint32_t>(types_.size() * 4);
    const std::vector<std::uint32_t> header = {
        0x0001'eb9f, 24, 0, types_size, types_size, static_cast<std::uint32_t>(strings_.size())};
    std::vector<std::uint8_t> bytes(header.size() * 4 + types_size);
    std::memcpy(bytes.data(), header.data(), header.size() * 4);
    std::memcpy(bytes.data() + header.size() * 4, types_.data(), types_size);
    bytes.insert(bytes.end(), strings_.begin(), strings_.end());
    return bytes;
}

}  // namespace sgm::guest::testing
