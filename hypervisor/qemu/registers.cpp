// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/registers.hpp"

#include <fmt/core.h>

#include <charconv>
#include <string>

namespace sgm::qemu {
namespace {

// The lines of one vCPU, between its "CPU#n" and the next.
std::string_view section_of(std::string_view text, std::uint32_t vcpu) {
    const std::string title = fmt::format("CPU#{}\n", vcpu);
    std::size_t begin = text.find(title);
    while (begin != text.npos && begin != 0 && text[begin - 1] != '\n') {
        begin = text.find(title, begin + 1);
    }
    if (begin == text.npos) return {};
    text.remove_prefix(begin + title.size());
    return text.substr(0, text.find("\nCPU#"));
}

// The hexadecimal number after `name`, which begins a line or follows a space; what is left of the
// text after it.
std::optional<std::uint64_t> number_after(std::string_view& text, std::string_view name) {
    std::size_t at = text.find(name);
    while (at != text.npos && at != 0 && text[at - 1] != '\n' && text[at - 1] != ' ') {
        at = text.find(name, at + 1);
    }
    if (at == text.npos) return std::nullopt;
    std::string_view rest = text.substr(at + name.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value, 16);
    if (error != std::errc{}) return std::nullopt;
    text = rest.substr(static_cast<std::size_t>(end - rest.data()));
    return value;
}

}  // namespace

std::optional<wire::Registers> parse_registers(std::string_view text, std::uint32_t vcpu) {
    const std::string_view section = section_of(text, vcpu);
    wire::Registers registers{};
    const auto take = [&](std::string_view name, wire::RegisterMask mask, std::uint64_t& value) {
        std::string_view rest = section;
        if (const auto number = number_after(rest, name)) {
            value = *number;
            registers.valid |= mask;
        }
        return rest;
    };
    // "GDT=     fffffe0000001000 0000007f": base, then limit.
    const auto take_table = [&](std::string_view name, wire::RegisterMask mask, std::uint64_t& base,
                                std::uint64_t& limit) {
        std::string_view rest = take(name, mask, base);
        const auto second = number_after(rest, " ");
        if (!second) registers.valid &= ~std::uint64_t{mask};
        limit = second.value_or(0);
    };
    take("CR0=", wire::kRegCr0, registers.cr0);
    take("CR3=", wire::kRegCr3, registers.cr3);
    take("CR4=", wire::kRegCr4, registers.cr4);
    take("EFER=", wire::kRegEfer, registers.efer);
    take("EIP=", wire::kRegRip, registers.rip);  // outside long mode
    take("RIP=", wire::kRegRip, registers.rip);
    take_table("IDT=", wire::kRegIdtr, registers.idt_base, registers.idt_limit);
    take_table("GDT=", wire::kRegGdtr, registers.gdt_base, registers.gdt_limit);
    if (registers.valid == 0) return std::nullopt;
    return registers;
}

}  // namespace sgm::qemu
