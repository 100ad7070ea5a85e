// SPDX-License-Identifier: MIT
// The guest's type information: every byte is the guest's.
#include "guest/linux/btf.hpp"

#include <algorithm>

#include "fuzz/target.hpp"
#include "guest/linux/layout.hpp"
#include "guest/testing/btf_builder.hpp"

namespace sgm::fuzz {

void run(Bytes input) {
    const auto btf = guest::Btf::parse({input.begin(), input.end()});
    if (!btf) return;
    static_cast<void>(guest::derive_layout(*btf));
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(btf->type_count(), 64));
    for (std::uint32_t type = 0; type <= count; ++type) {
        static_cast<void>(btf->strip(type));
        static_cast<void>(btf->size_of(type));
        static_cast<void>(btf->member(type, "a"));
        static_cast<void>(btf->member(type, "a.b.c"));
        static_cast<void>(btf->member(type, ""));
    }
}

std::vector<Octets> seeds() {
    guest::testing::BtfBuilder builder;
    const auto integer = builder.integer("int", 4);
    const auto list = builder.structure("list_head", 16, {{"next", builder.pointer(2), 0}});
    const auto inner = builder.structure("", 8, {{"b", integer, 0}, {"c", integer, 4}}, true);
    const auto nested = builder.structure("a_type", 16, {{"a", inner, 0}, {"", inner, 8}});
    builder.structure("task_struct", 128,
                      {{"tasks", list, 0},
                       {"pid", integer, 16},
                       {"tgid", integer, 20},
                       {"real_parent", builder.pointer(nested), 24},
                       {"comm", builder.array(integer, 4), 32},
                       {"a", builder.qualifier(10, nested), 64},
                       {"bits", integer, 96, 3, 1}});
    builder.raw(6, "e", 2, 4, std::vector<std::uint32_t>(4));
    builder.raw(19, "e64", 2, 8, std::vector<std::uint32_t>(6));
    builder.raw(15, ".data", 1, 64, std::vector<std::uint32_t>(3));
    return {builder.build()};
}

}  // namespace sgm::fuzz
