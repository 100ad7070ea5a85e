// SPDX-License-Identifier: MIT
// BTF: the kernel's own type information (kernel Documentation/bpf/btf.rst). Kinds 0 to 19; a kind
// from later on is an error, because its size is not known.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"

namespace sgm::guest {

enum class BtfError {
    bad_header,    // magic, version or section bounds
    bad_type,      // a type runs over the end, or refers to nothing
    unknown_kind,  // a kind after ENUM64
    too_large,     // beyond the bounds below
    not_found,     // no such struct or member
    too_deep,      // qualifiers or anonymous members nested beyond the bounds below
    bit_field,     // the member is a bit field or does not begin on a byte
};
[[nodiscard]] std::string_view text(BtfError error);

// Debian's kernels: 3.3 to 5.3 MB and about 130,000 types.
inline constexpr std::size_t kMaxBtfSize = 12u << 20;
inline constexpr std::size_t kMaxBtfTypes = 1u << 19;
inline constexpr std::uint32_t kMaxQualifiers = 32;       // const volatile typedef ... in a row
inline constexpr std::uint32_t kMaxAnonymousDepth = 8;    // struct { union { struct { ...
inline constexpr std::uint32_t kMaxMemberVisits = 65536;  // looked at for one name

class Btf final {
  public:
    struct Member {
        std::uint32_t offset;  // bytes from the start of the outermost struct
        std::uint32_t type;    // as declared, qualifiers included
    };

    // Takes the bytes that lie between __start_BTF and __stop_BTF; the guest controls them all.
    [[nodiscard]] static std::expected<Btf, BtfError> parse(std::vector<std::uint8_t> raw);

    // The struct or union of that name.
    [[nodiscard]] std::expected<std::uint32_t, BtfError> find_struct(std::string_view name) const;

    // `path`: member names with dots between, "idr.idr_rt.xa_head". Members of anonymous structs
    // and unions count as their parent's; each member but the last must be a struct or union.
    [[nodiscard]] std::expected<Member, BtfError> member(std::uint32_t type,
                                                         std::string_view path) const;

    // The type behind typedefs and qualifiers; 0 is void.
    [[nodiscard]] std::expected<std::uint32_t, BtfError> strip(std::uint32_t type) const;

    // Bytes, of whatever has a size.
    [[nodiscard]] std::expected<std::uint64_t, BtfError> size_of(std::uint32_t type) const;

    [[nodiscard]] std::size_t type_count() const { return types_.size(); }

  private:
    struct Type {
        std::uint32_t name_offset;
        std::uint32_t info;          // bits 0-15 vlen, 24-28 kind, 31 kind_flag
        std::uint32_t size_or_type;  // by kind
        [[nodiscard]] std::uint32_t kind() const { return (info >> 24) & 0x1f; }
        [[nodiscard]] std::uint32_t count() const { return info & 0xffff; }
        [[nodiscard]] bool kind_flag() const { return info >> 31 != 0; }
    };
    struct StructMember {
        std::uint32_t name_offset;
        std::uint32_t type;
        std::uint32_t offset;  // bits; with kind_flag bits 24-31 are a bit field's size
    };

    Btf() = default;
    [[nodiscard]] std::optional<Type> type(std::uint32_t id) const;
    [[nodiscard]] StructMember struct_member(std::uint32_t id, std::uint32_t index) const;
    [[nodiscard]] bool name_is(std::uint32_t name_offset, std::string_view name) const;
    // One name in `type`, looking into anonymous members at most `depth` deep.
    [[nodiscard]] std::expected<Member, BtfError> direct_member(std::uint32_t type,
                                                                std::string_view name,
                                                                std::uint32_t depth,
                                                                std::uint32_t& visits) const;

    std::vector<std::uint8_t> raw_;
    std::vector<std::uint32_t> types_;  // where in raw_ each type begins; [0] is void
    std::size_t strings_ = 0;           // where in raw_ the strings begin
    std::size_t strings_size_ = 0;      // the last byte of them is 0
};

}  // namespace sgm::guest
