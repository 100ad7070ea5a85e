// SPDX-License-Identifier: MIT
#include "guest/linux/vmcoreinfo.hpp"

#include <algorithm>
#include <charconv>

namespace sgm::guest {
namespace {

// Kernel arch/x86/include/asm/page_64_types.h: __START_KERNEL_map.
constexpr std::uint64_t kStartKernelMap = 0xffff'ffff'8000'0000;
// x86-64 has at most 52 physical address bits (Intel SDM vol. 3A, 4.1.4).
constexpr std::uint64_t kMaxPhysical = std::uint64_t{1} << 52;

// Lines of "KEY=value".
class Lines final {
  public:
    explicit Lines(std::string_view text) : text_{text} {}

    // The value of the first line with this key.
    [[nodiscard]] std::optional<std::string_view> value(std::string_view key) const {
        for (std::size_t at = 0; at < text_.size();) {
            const std::size_t end = std::min(text_.find('\n', at), text_.size());
            const std::string_view line = text_.substr(at, end - at);
            if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=')
                return line.substr(key.size() + 1);
            at = end + 1;
        }
        return std::nullopt;
    }

    // The whole value as a number in `base`; nullopt when it is missing or anything else.
    template <typename T>
    [[nodiscard]] std::optional<T> number(std::string_view key, int base) const {
        const auto digits = value(key);
        if (!digits) return std::nullopt;
        T number{};
        const char* begin = digits->data();
        const char* end = begin + digits->size();
        const auto parsed = std::from_chars(begin, end, number, base);
        if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
        return number;
    }

    [[nodiscard]] std::optional<std::uint64_t> address(std::string_view key) const {
        return number<std::uint64_t>(key, 16);
    }

  private:
    std::string_view text_;
};

bool in_kernel_image(std::uint64_t address) {
    return address >= kStartKernelMap;
}

std::optional<KallsymsAddresses> kallsyms_addresses(const Lines& lines) {
    const auto names = lines.address("SYMBOL(kallsyms_names)");
    const auto num_syms = lines.address("SYMBOL(kallsyms_num_syms)");
    const auto token_table = lines.address("SYMBOL(kallsyms_token_table)");
    const auto token_index = lines.address("SYMBOL(kallsyms_token_index)");
    const auto offsets = lines.address("SYMBOL(kallsyms_offsets)");
    if (!names || !num_syms || !token_table || !token_index || !offsets) return std::nullopt;
    return KallsymsAddresses{.names = *names,
                             .num_syms = *num_syms,
                             .token_table = *token_table,
                             .token_index = *token_index,
                             .offsets = *offsets,
                             .relative_base = lines.address("SYMBOL(kallsyms_relative_base)")};
}

}  // namespace

std::uint64_t Vmcoreinfo::image_physical(std::uint64_t address) const {
    return address - kStartKernelMap + phys_base;
}

AddressSpace Vmcoreinfo::space() const {
    return {.root = root.value_or(image_physical(swapper_pg_dir)),
            .paging = five_level ? wire::Paging::five_level : wire::Paging::four_level};
}

std::string_view text(VmcoreinfoError error) {
    switch (error) {
        case VmcoreinfoError::not_vmcoreinfo: return "not a VMCOREINFO page";
        case VmcoreinfoError::bad_value:
            return "VMCOREINFO lacks a value or holds an impossible one";
        case VmcoreinfoError::encrypted: return "the kernel encrypts its memory (sme_mask)";
    }
    return "unknown";
}

std::expected<Vmcoreinfo, VmcoreinfoError> parse_vmcoreinfo(Bytes page) {
    page = page.first(std::min(page.size(), kVmcoreinfoSize));
    std::string_view whole{reinterpret_cast<const char*>(page.data()), page.size()};
    whole = whole.substr(0, whole.find('\0'));
    const Lines lines{whole};
    if (!whole.starts_with(kVmcoreinfoStart) || !lines.value("SYMBOL(swapper_pg_dir)") ||
        !lines.value("KERNELOFFSET"))
        return std::unexpected{VmcoreinfoError::not_vmcoreinfo};

    const auto release = lines.value("OSRELEASE");
    const auto swapper_pg_dir = lines.address("SYMBOL(swapper_pg_dir)");
    const auto stext = lines.address("SYMBOL(_stext)");
    const auto init_uts_ns = lines.address("SYMBOL(init_uts_ns)");
    const auto kernel_offset = lines.address("KERNELOFFSET");  // hex without 0x
    const auto phys_base = lines.number<std::int64_t>("NUMBER(phys_base)", 10);
    const auto five_level = lines.number<std::uint32_t>("NUMBER(pgtable_l5_enabled)", 10);
    if (!release || release->empty() || release->size() > 63 || !swapper_pg_dir || !stext ||
        !init_uts_ns || !kernel_offset || !phys_base || !five_level || *five_level > 1 ||
        !in_kernel_image(*swapper_pg_dir) || !in_kernel_image(*stext) ||
        !in_kernel_image(*init_uts_ns))
        return std::unexpected{VmcoreinfoError::bad_value};
    // Without SME support in the kernel the line is missing.
    if (lines.number<std::uint64_t>("NUMBER(sme_mask)", 10).value_or(0) != 0)
        return std::unexpected{VmcoreinfoError::encrypted};

    Vmcoreinfo info;
    info.release = *release;
    info.build_id = lines.value("BUILD-ID").value_or("").substr(0, 64);
    info.swapper_pg_dir = *swapper_pg_dir;
    info.stext = *stext;
    info.init_uts_ns = *init_uts_ns;
    info.kernel_offset = *kernel_offset;
    info.phys_base = static_cast<std::uint64_t>(*phys_base);
    info.five_level = *five_level != 0;
    info.kallsyms = kallsyms_addresses(lines);
    const std::uint64_t root = info.space().root;
    if (root % 4096 != 0 || root == 0 || root >= kMaxPhysical)
        return std::unexpected{VmcoreinfoError::bad_value};
    return info;
}

}  // namespace sgm::guest
