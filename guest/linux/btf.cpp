// SPDX-License-Identifier: MIT
#include "guest/linux/btf.hpp"

#include <array>
#include <cstring>
#include <utility>

namespace sgm::guest {
namespace {

struct BtfHeader {  // kernel include/uapi/linux/btf.h
    std::uint16_t magic;
    std::uint8_t version;
    std::uint8_t flags;
    std::uint32_t header_size;
    std::uint32_t types_offset;  // from the end of the header
    std::uint32_t types_size;
    std::uint32_t strings_offset;
    std::uint32_t strings_size;
};
static_assert(sizeof(BtfHeader) == 24);
constexpr std::uint16_t kMagic = 0xeb9f;

enum Kind : std::uint32_t {
    kInt = 1,
    kPointer = 2,
    kArray = 3,
    kStruct = 4,
    kUnion = 5,
    kEnum = 6,
    kTypedef = 8,
    kVolatile = 9,
    kConst = 10,
    kRestrict = 11,
    kFloat = 16,
    kTypeTag = 18,
    kEnum64 = 19,
};
constexpr std::uint32_t kKinds = 20;

// Bytes behind a type's three words: a fixed number, and one for each of its `vlen` elements.
struct Extra {
    std::uint8_t fixed;
    std::uint8_t each;
};
constexpr std::array<Extra, kKinds> kExtra = {{
    {0, 0},   // 0  void: never in the type section
    {4, 0},   // 1  INT
    {0, 0},   // 2  PTR
    {12, 0},  // 3  ARRAY
    {0, 12},  // 4  STRUCT
    {0, 12},  // 5  UNION
    {0, 8},   // 6  ENUM
    {0, 0},   // 7  FWD
    {0, 0},   // 8  TYPEDEF
    {0, 0},   // 9  VOLATILE
    {0, 0},   // 10 CONST
    {0, 0},   // 11 RESTRICT
    {0, 0},   // 12 FUNC (vlen holds its linkage)
    {0, 8},   // 13 FUNC_PROTO
    {4, 0},   // 14 VAR
    {0, 12},  // 15 DATASEC
    {0, 0},   // 16 FLOAT
    {4, 0},   // 17 DECL_TAG
    {0, 0},   // 18 TYPE_TAG
    {0, 12},  // 19 ENUM64
}};
constexpr std::size_t kTypeSize = 12;

struct ArrayInfo {
    std::uint32_t element_type;
    std::uint32_t index_type;
    std::uint32_t count;
};

template <WireStruct T>
T value_at(const std::vector<std::uint8_t>& raw, std::size_t at) {
    T value;
    std::memcpy(&value, raw.data() + at, sizeof value);
    return value;
}

bool is_struct_or_union(std::uint32_t kind) {
    return kind == kStruct || kind == kUnion;
}

}  // namespace

std::string_view text(BtfError error) {
    switch (error) {
        case BtfError::bad_header: return "its BTF has a bad header";
        case BtfError::bad_type: return "its BTF has a malformed type";
        case BtfError::unknown_kind: return "its BTF has a kind of type that is not known here";
        case BtfError::too_large: return "its BTF is too large";
        case BtfError::not_found: return "its BTF lacks a type or member";
        case BtfError::too_deep: return "its BTF nests types too deeply";
        case BtfError::bit_field: return "its BTF has a bit field where a plain member is needed";
    }
    return "unknown";
}

std::expected<Btf, BtfError> Btf::parse(std::vector<std::uint8_t> raw) {
    if (raw.size() > kMaxBtfSize) return std::unexpected{BtfError::too_large};
    if (raw.size() < sizeof(BtfHeader)) return std::unexpected{BtfError::bad_header};
    const auto header = value_at<BtfHeader>(raw, 0);
    // 64-bit sums of 32-bit values cannot wrap.
    const std::uint64_t types = std::uint64_t{header.header_size} + header.types_offset;
    const std::uint64_t strings = std::uint64_t{header.header_size} + header.strings_offset;
    if (header.magic != kMagic || header.version != 1 || header.header_size < sizeof(BtfHeader) ||
        types + header.types_size > raw.size() || strings + header.strings_size > raw.size() ||
        header.strings_size == 0)
        return std::unexpected{BtfError::bad_header};

    Btf btf;
    btf.strings_ = static_cast<std::size_t>(strings);
    btf.strings_size_ = header.strings_size;
    if (raw[btf.strings_] != 0 || raw[btf.strings_ + btf.strings_size_ - 1] != 0)
        return std::unexpected{BtfError::bad_header};
    btf.types_.push_back(0);
    auto at = static_cast<std::size_t>(types);
    const std::size_t end = at + header.types_size;
    while (at < end) {
        if (end - at < kTypeSize) return std::unexpected{BtfError::bad_type};
        const auto type = value_at<Type>(raw, at);
        if (type.kind() >= kKinds) return std::unexpected{BtfError::unknown_kind};
        if (type.kind() == 0) return std::unexpected{BtfError::bad_type};
        if (type.name_offset >= header.strings_size) return std::unexpected{BtfError::bad_type};
        const Extra extra = kExtra[type.kind()];
        const std::size_t size = kTypeSize + extra.fixed + std::size_t{extra.each} * type.count();
        if (size > end - at) return std::unexpected{BtfError::bad_type};
        if (btf.types_.size() == kMaxBtfTypes) return std::unexpected{BtfError::too_large};
        btf.types_.push_back(static_cast<std::uint32_t>(at));
        at += size;
    }
    btf.raw_ = std::move(raw);
    return btf;
}

std::optional<Btf::Type> Btf::type(std::uint32_t id) const {
    if (id == 0 || id >= types_.size()) return std::nullopt;
    return value_at<Type>(raw_, types_[id]);
}

Btf::StructMember Btf::struct_member(std::uint32_t id, std::uint32_t index) const {
    return value_at<StructMember>(raw_, types_[id] + kTypeSize + sizeof(StructMember) * index);
}

bool Btf::name_is(std::uint32_t name_offset, std::string_view name) const {
    if (name_offset >= strings_size_ || name.size() >= strings_size_ - name_offset) return false;
    const std::uint8_t* begin = raw_.data() + strings_ + name_offset;
    return std::memcmp(begin, name.data(), name.size()) == 0 && begin[name.size()] == 0;
}

std::expected<std::uint32_t, BtfError> Btf::find_struct(std::string_view name) const {
    if (name.empty()) return std::unexpected{BtfError::not_found};  // those are anonymous
    for (std::uint32_t id = 1; id < types_.size(); ++id) {
        const auto candidate = type(id);
        if (candidate && is_struct_or_union(candidate->kind()) &&
            name_is(candidate->name_offset, name))
            return id;
    }
    return std::unexpected{BtfError::not_found};
}

std::expected<std::uint32_t, BtfError> Btf::strip(std::uint32_t id) const {
    for (std::uint32_t hop = 0; hop < kMaxQualifiers; ++hop) {
        if (id == 0) return id;
        const auto here = type(id);
        if (!here) return std::unexpected{BtfError::bad_type};
        switch (here->kind()) {
            case kTypedef:
            case kVolatile:
            case kConst:
            case kRestrict:
            case kTypeTag: id = here->size_or_type; break;
            default: return id;
        }
    }
    return std::unexpected{BtfError::too_deep};
}

std::expected<std::uint64_t, BtfError> Btf::size_of(std::uint32_t id) const {
    std::uint64_t elements = 1;
    for (std::uint32_t hop = 0; hop < kMaxQualifiers; ++hop) {
        const auto stripped = strip(id);
        if (!stripped) return std::unexpected{stripped.error()};
        const auto here = type(*stripped);
        if (!here) return std::unexpected{BtfError::bad_type};
        std::uint64_t size = 0;
        switch (here->kind()) {
            case kInt:
            case kStruct:
            case kUnion:
            case kEnum:
            case kEnum64:
            case kFloat: size = here->size_or_type; break;
            case kPointer: size = 8; break;
            case kArray: {
                const auto array = value_at<ArrayInfo>(raw_, types_[*stripped] + kTypeSize);
                if (__builtin_mul_overflow(elements, std::uint64_t{array.count}, &elements))
                    return std::unexpected{BtfError::too_large};
                id = array.element_type;
                continue;
            }
            default: return std::unexpected{BtfError::bad_type};
        }
        if (__builtin_mul_overflow(elements, size, &size))
            return std::unexpected{BtfError::too_large};
        return size;
    }
    return std::unexpected{BtfError::too_deep};
}

std::expected<Btf::Member, BtfError> Btf::direct_member(std::uint32_t id, std::string_view name,
                                                        std::uint32_t depth,
                                                        std::uint32_t& visits) const {
    const auto parent = type(id);
    if (!parent || !is_struct_or_union(parent->kind())) return std::unexpected{BtfError::bad_type};
    for (std::uint32_t i = 0; i < parent->count(); ++i) {
        if (++visits > kMaxMemberVisits) return std::unexpected{BtfError::too_large};
        const StructMember member = struct_member(id, i);
        const std::uint32_t bits = parent->kind_flag() ? member.offset & 0xffffff : member.offset;
        if (member.name_offset != 0) {
            if (!name_is(member.name_offset, name)) continue;
            if (bits % 8 != 0 || (parent->kind_flag() && member.offset >> 24 != 0))
                return std::unexpected{BtfError::bit_field};
            return Member{.offset = bits / 8, .type = member.type};
        }
        const auto inner = strip(member.type);
        if (!inner) return std::unexpected{inner.error()};
        const auto inner_type = type(*inner);
        if (!inner_type || !is_struct_or_union(inner_type->kind())) continue;  // padding bit field
        if (depth == 0) return std::unexpected{BtfError::too_deep};
        auto found = direct_member(*inner, name, depth - 1, visits);
        if (found) {
            if (bits % 8 != 0) return std::unexpected{BtfError::bit_field};
            const std::uint64_t offset = std::uint64_t{found->offset} + bits / 8;
            if (offset > INT32_MAX) return std::unexpected{BtfError::too_large};
            found->offset = static_cast<std::uint32_t>(offset);
            return found;
        }
        if (found.error() != BtfError::not_found) return found;
    }
    return std::unexpected{BtfError::not_found};
}

std::expected<Btf::Member, BtfError> Btf::member(std::uint32_t id, std::string_view path) const {
    std::uint32_t visits = 0;
    std::uint64_t offset = 0;
    while (true) {
        const auto parent = strip(id);
        if (!parent) return std::unexpected{parent.error()};
        const std::size_t dot = path.find('.');
        const auto found = direct_member(*parent, path.substr(0, dot), kMaxAnonymousDepth, visits);
        if (!found) return found;
        offset += found->offset;
        if (offset > INT32_MAX) return std::unexpected{BtfError::too_large};
        if (dot == std::string_view::npos)
            return Member{.offset = static_cast<std::uint32_t>(offset), .type = found->type};
        id = found->type;
        path = path.substr(dot + 1);
    }
}

}  // namespace sgm::guest
