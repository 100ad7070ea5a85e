// SPDX-License-Identifier: MIT
#include "guest/linux/vmcoreinfo.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sgm::guest {
namespace {

// Debian's 6.1.0-50-cloud-amd64, shortened.
constexpr std::string_view kDebian61 =
    "OSRELEASE=6.1.0-50-cloud-amd64\n"
    "BUILD-ID=bb603a9147d3efe4744bf83c83eee397c591cc20\n"
    "PAGESIZE=4096\n"
    "SYMBOL(init_uts_ns)=ffffffffa6df9b60\n"
    "OFFSET(uts_namespace.name)=0\n"
    "SYMBOL(swapper_pg_dir)=ffffffffa6c10000\n"
    "SYMBOL(_stext)=ffffffffa5200000\n"
    "SYMBOL(mem_section)=ffff8c4c1fcde000\n"
    "SYMBOL(kallsyms_names)=ffffffffa6374d18\n"
    "SYMBOL(kallsyms_num_syms)=ffffffffa6374d10\n"
    "SYMBOL(kallsyms_token_table)=ffffffffa64c88e8\n"
    "SYMBOL(kallsyms_token_index)=ffffffffa64c8c80\n"
    "SYMBOL(kallsyms_offsets)=ffffffffa631fad0\n"
    "SYMBOL(kallsyms_relative_base)=ffffffffa6374d08\n"
    "NUMBER(phys_base)=-274726912\n"
    "NUMBER(pgtable_l5_enabled)=0\n"
    "KERNELOFFSET=24200000\n"
    "NUMBER(KERNEL_IMAGE_SIZE)=1073741824\n"
    "NUMBER(sme_mask)=0\n";

std::expected<Vmcoreinfo, VmcoreinfoError> parse(std::string_view text) {
    return parse_vmcoreinfo({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::string with(std::string_view line, std::string_view replacement) {
    std::string text{kDebian61};
    const std::size_t at = text.find(line);
    EXPECT_NE(at, std::string::npos);
    return text.replace(at, line.size(), replacement);
}

TEST(Vmcoreinfo, a_real_page_gives_all_fields) {
    const auto info = parse(kDebian61);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->release, "6.1.0-50-cloud-amd64");
    EXPECT_EQ(info->build_id, "bb603a9147d3efe4744bf83c83eee397c591cc20");
    EXPECT_EQ(info->stext, 0xffffffffa5200000u);
    EXPECT_EQ(info->kernel_offset, 0x24200000u);
    // 0xffffffffa6c10000 - 0xffffffff80000000 - 274726912, as the kernel was seen to be loaded
    EXPECT_EQ(info->space().root, 0x16610000u);
    EXPECT_EQ(info->space().paging, wire::Paging::four_level);
    ASSERT_TRUE(info->kallsyms);
    EXPECT_EQ(info->kallsyms->offsets, 0xffffffffa631fad0u);
    EXPECT_EQ(info->kallsyms->relative_base, 0xffffffffa6374d08u);
}

TEST(Vmcoreinfo, five_level_paging_is_read) {
    const auto info = parse(with("NUMBER(pgtable_l5_enabled)=0", "NUMBER(pgtable_l5_enabled)=1"));
    ASSERT_TRUE(info);
    EXPECT_EQ(info->space().paging, wire::Paging::five_level);
}

TEST(Vmcoreinfo, a_kernel_that_does_not_name_its_kallsyms_is_accepted) {
    const auto info = parse(with("SYMBOL(kallsyms_names)=ffffffffa6374d18\n", ""));
    ASSERT_TRUE(info);
    EXPECT_FALSE(info->kallsyms);
}

TEST(Vmcoreinfo, a_page_that_only_begins_alike_is_not_one) {
    for (const std::string& text :
         {std::string{"OSRELEASE=6.1\n"}, with("SYMBOL(swapper_pg_dir)=ffffffffa6c10000\n", ""),
          with("KERNELOFFSET=24200000\n", ""), "x" + std::string{kDebian61}, std::string{}}) {
        const auto info = parse(text);
        ASSERT_FALSE(info);
        EXPECT_EQ(info.error(), VmcoreinfoError::not_vmcoreinfo);
    }
}

TEST(Vmcoreinfo, impossible_values_are_refused) {
    for (const auto& [line, replacement] :
         {std::pair{"=ffffffffa6c10000", "=ffff888000000000"},   // not in the image
          std::pair{"=ffffffffa6c10000", "=ffffffffa6c10008"},   // not a page
          std::pair{"=ffffffffa6c10000", "=fffffffffa6c10000"},  // more than 64 bits
          std::pair{"_stext)=ffffffffa5200000", "_stext)="},
          std::pair{"phys_base)=-274726912", "phys_base)=-274726912x"},
          std::pair{"phys_base)=-274726912", "phys_base)=-9223372036854775809"},
          std::pair{"phys_base)=-274726912", "phys_base)=-9223372036854775808"},
          std::pair{"l5_enabled)=0", "l5_enabled)=2"}, std::pair{"=24200000", "=0x24200000"},
          std::pair{"OSRELEASE=6.1.0-50-cloud-amd64", "OSRELEASE="}}) {
        const auto info = parse(with(line, replacement));
        ASSERT_FALSE(info) << replacement;
        EXPECT_EQ(info.error(), VmcoreinfoError::bad_value) << replacement;
    }
}

TEST(Vmcoreinfo, memory_encryption_is_reported) {
    const auto info = parse(with("sme_mask)=0", "sme_mask)=140737488355328"));
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error(), VmcoreinfoError::encrypted);
}

TEST(Vmcoreinfo, a_key_counts_only_at_the_start_of_a_line) {
    const auto info = parse(with("KERNELOFFSET=24200000", "XKERNELOFFSET=24200000"));
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error(), VmcoreinfoError::not_vmcoreinfo);
}

TEST(Vmcoreinfo, truncated_and_mutated_pages_give_a_value_or_an_error) {
    for (std::size_t size = 0; size < kDebian61.size(); ++size)
        EXPECT_FALSE(parse(kDebian61.substr(0, size)) && size < kDebian61.find("KERNELOFFSET"));
    std::mt19937_64 random{3};
    for (int i = 0; i < 20'000; ++i) {
        std::string text{kDebian61};
        for (int change = 0; change < 3; ++change)
            text[random() % text.size()] = static_cast<char>(random());
        if (const auto info = parse(text)) {
            EXPECT_EQ(info->space().root % 4096, 0u);
            EXPECT_LE(info->release.size(), 63u);
        }
    }
}

}  // namespace
}  // namespace sgm::guest
