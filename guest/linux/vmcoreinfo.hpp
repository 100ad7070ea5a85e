// SPDX-License-Identifier: MIT
// VMCOREINFO: the page of text in which a Linux kernel tells crash tools where it is (kernel
// kernel/crash_core.c; Documentation/admin-guide/kdump/vmcoreinfo.rst). Any program in the guest
// can write a page like it, so a parsed page is a candidate, no more.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "guest/memory.hpp"
#include "wire/bytes.hpp"

namespace sgm::guest {

inline constexpr std::size_t kVmcoreinfoSize = 4096;  // VMCOREINFO_BYTES: one page
inline constexpr std::string_view kVmcoreinfoStart = "OSRELEASE=";

// Where the kallsyms tables are, from 6.0 on. `relative_base` went away with place-relative
// offsets.
struct KallsymsAddresses {
    std::uint64_t names;
    std::uint64_t num_syms;
    std::uint64_t token_table;
    std::uint64_t token_index;
    std::uint64_t offsets;
    std::optional<std::uint64_t> relative_base;
};

struct Vmcoreinfo {
    std::string release;   // "6.1.0-50-cloud-amd64", at most 63 bytes
    std::string build_id;  // hex, empty before 5.10; at most 64 bytes
    std::uint64_t swapper_pg_dir = 0;
    std::uint64_t stext = 0;
    std::uint64_t init_uts_ns = 0;
    std::uint64_t kernel_offset = 0;  // virtual KASLR
    std::uint64_t phys_base = 0;      // two's complement; physical KASLR, apart from the virtual
    bool five_level = false;
    std::optional<KallsymsAddresses> kallsyms;
    // Of swapper_pg_dir, where the kernel's physical addresses are not the hypervisor's (a PV
    // domain of Xen). Not in the text: whoever finds it out sets it.
    std::optional<std::uint64_t> root;

    // Physical address, as the kernel counts, of something in its image (not of modules or the
    // heap).
    [[nodiscard]] std::uint64_t image_physical(std::uint64_t address) const;
    // The kernel's own page tables.
    [[nodiscard]] AddressSpace space() const;
};

enum class VmcoreinfoError {
    not_vmcoreinfo,  // another page that begins alike: has no swapper_pg_dir or KERNELOFFSET
    bad_value,       // a line that is needed does not hold what it should
    encrypted,       // the kernel runs with memory encryption (sme_mask)
};
[[nodiscard]] std::string_view text(VmcoreinfoError error);

// `page`: as found in guest memory, at most kVmcoreinfoSize bytes of it are looked at.
[[nodiscard]] std::expected<Vmcoreinfo, VmcoreinfoError> parse_vmcoreinfo(Bytes page);

}  // namespace sgm::guest
