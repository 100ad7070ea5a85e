// SPDX-License-Identifier: MIT
// For tests: makes BTF type by type.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sgm::guest::testing {

class BtfBuilder final {
  public:
    struct Member {
        std::string_view name;  // empty: anonymous
        std::uint32_t type;
        std::uint32_t offset;          // bytes
        std::uint32_t bit_size = 0;    // not 0: a bit field
        std::uint32_t extra_bits = 0;  // by which it begins behind `offset`
    };

    // Each returns the new type's id.
    std::uint32_t integer(std::string_view name, std::uint32_t size);
    std::uint32_t pointer(std::uint32_t to);
    std::uint32_t array(std::uint32_t of, std::uint32_t count);
    std::uint32_t structure(std::string_view name, std::uint32_t size,
                            const std::vector<Member>& members, bool is_union = false);
    // TYPEDEF 8, VOLATILE 9, CONST 10, RESTRICT 11, TYPE_TAG 18.
    std::uint32_t qualifier(std::uint32_t kind, std::uint32_t of, std::string_view name = {});
    // Any type: `size_or_type` and `words` as the kind wants them.
    std::uint32_t raw(std::uint32_t kind, std::string_view name, std::uint32_t vlen,
                      std::uint32_t size_or_type, const std::vector<std::uint32_t>& words,
                      bool kind_flag = false);

    [[nodiscard]] std::vector<std::uint8_t> build() const;

  private:
    std::uint32_t string(std::string_view text);

    std::vector<std::uint32_t> types_;
    std::vector<std::uint8_t> strings_{0};
    std::uint32_t count_ = 0;
};

}  // namespace sgm::guest::testing
