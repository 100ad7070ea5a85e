// SPDX-License-Identifier: MIT
#include "sgx/tool/report.hpp"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <string>

#include "config/text.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::sgx::tool {
namespace {

std::string permissions(bool read, bool write, bool execute) {
    return {read ? 'r' : '-', write ? 'w' : '-', execute ? 'x' : '-'};
}

cli::Cell hexadecimal(std::uint64_t value) {
    return {value, fmt::format("{:#x}", value)};
}

}  // namespace

cli::Record build_info(Bytes file, const ElfFile& elf) {
    wire::Digest digest{};
    SHA256(file.data(), file.size(), digest.data());
    cli::Table segments{{{"segment", "segment"},
                         {"offset", "offset", cli::Align::right},
                         {"bytes", "bytes", cli::Align::right},
                         {"memory", "in memory", cli::Align::right},
                         {"permissions", "permissions"}}};
    std::uint64_t code = 0;
    std::uint64_t all = 0;
    for (const Segment& segment : elf.segments()) {
        all += segment.file_size;
        if (segment.execute) code += segment.file_size;
        segments.add({std::string{segment_name(segment)}, hexadecimal(segment.offset),
                      segment.file_size, segment.memory_size,
                      permissions(segment.read, segment.write, segment.execute)});
    }
    cli::Record record;
    record.add("sha256", "SHA-256 of the file", config::to_hex(digest));
    record.add("signed", "prepared by a signer", EnclaveImage::build(file).has_value());
    record.add("entry", "entry", hexadecimal(elf.entry()));
    record.add("code_size", "code", cli::Cell{code, fmt::format("{} bytes", code)});
    record.add("tcb_size", "TCB size", cli::Cell{all, fmt::format("{} bytes", all)});
    record.add("segments", std::move(segments));
    return record;
}

void describe(const EnclaveImage& image, cli::Record& record) {
    const EnclaveLayout& layout = image.layout();
    const wire::MeasuredConfig& config = image.config();
    const auto bytes = [](std::uint64_t size) {
        return cli::Cell{size, fmt::format("{} bytes", size)};
    };
    record.add("mrenclave", "MRENCLAVE", config::to_hex(image.measure()));
    record.add("tcb_size", "TCB size", bytes(image.tcb_size()));
    record.add("pages", "pages", image.page_count());
    record.add("address_range", "address range", bytes(layout.elrange_size));
    record.add("heap_size", "heap", bytes(layout.heap_size));
    record.add("heap_max", "heap with SGX2", bytes(layout.heap_max));
    record.add("stack_size", "stack", bytes(layout.stack_size));
    record.add("threads", "threads", layout.thread_count);
    record.add("authority_key", "authority key", config::to_hex(config.authority_key));
    record.add("label", "label", std::string{wire::get_text(config.label)});
}

void describe(const Sigstruct& sigstruct, cli::Record& record) {
    const bool debug = (sigstruct.attributes.flags & kAttributeDebug) != 0;
    record.add("kind", "kind",
               cli::Cell{std::string{debug ? "debug" : "production"},
                         debug ? "DEBUG: the host can read this enclave" : "production"});
    record.add("mrsigner", "MRSIGNER", config::to_hex(mrsigner(sigstruct)));
    record.add("attributes", "ATTRIBUTES", fmt::format("{:#x}", sigstruct.attributes.flags));
    record.add("xfrm", "XFRM", fmt::format("{:#x}", sigstruct.attributes.xfrm));
    record.add("optional_xfrm", "XFRM, if the CPU has it",
               fmt::format("{:#x}", ~sigstruct.attributemask.xfrm));
    record.add("miscselect", "MISCSELECT", fmt::format("{:#x}", sigstruct.miscselect));
    record.add("product_id", "product id", std::uint64_t{sigstruct.isvprodid});
    record.add("security_version", "security version", std::uint64_t{sigstruct.isvsvn});
    record.add("date", "date",
               fmt::format("{:04x}-{:02x}-{:02x}", sigstruct.date >> 16, sigstruct.date >> 8 & 0xff,
                           sigstruct.date & 0xff));
}

cli::Table page_map(const EnclaveImage& image) {
    cli::Table table{{{"region", "region"},
                      {"offset", "offset", cli::Align::right},
                      {"pages", "pages", cli::Align::right},
                      {"permissions", "permissions"},
                      {"measured", "contents measured"}}};
    for (const Region& region : image.regions()) {
        const auto has = [&](std::uint64_t flag) { return (region.flags & flag) != 0; };
        table.add({std::string{region.name}, hexadecimal(region.offset), region.size / kPageSize,
                   has(kSecInfoTcs)
                       ? "TCS"
                       : permissions(has(kSecInfoRead), has(kSecInfoWrite), has(kSecInfoExecute)),
                   region.measured});
    }
    return table;
}

}  // namespace sgm::sgx::tool
