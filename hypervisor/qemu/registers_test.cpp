// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/registers.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sgm::qemu {
namespace {

// QEMU 7.2, `info registers -a` of a Linux guest with two vCPUs, the second in real mode.
constexpr std::string_view kText = R"(
CPU#0
RAX=ffffffff8a6c0b90 RBX=0000000000000000 RCX=0000000000000001 RDX=4000000000000000
RIP=ffffffff8a6c0b9e RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 ffffffff 00c00000
LDT=0000 0000000000000000 ffffffff 00c00000
TR =0040 fffffe0000003000 00004087 00008b00 DPL=0 TSS64-busy
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033 CR2=00007f1c5c000a28 CR3=0000000102a3c000 CR4=000006f0
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000
EFER=0000000000000d01
CPU#1
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
GDT=     00000000 0000ffff
IDT=     00000000 0000ffff
CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000
EFER=0000000000000000
)";

constexpr std::uint64_t kAll = wire::kRegCr0 | wire::kRegCr3 | wire::kRegCr4 | wire::kRegEfer |
                               wire::kRegIdtr | wire::kRegGdtr | wire::kRegRip;

TEST(Registers, each_vcpu_has_its_own) {
    const auto first = parse_registers(kText, 0);
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->valid, kAll);
    EXPECT_EQ(first->cr0, 0x80050033u);
    EXPECT_EQ(first->cr3, 0x102a3c000u);
    EXPECT_EQ(first->cr4, 0x6f0u);
    EXPECT_EQ(first->efer, 0xd01u);
    EXPECT_EQ(first->rip, 0xffffffff8a6c0b9e);
    EXPECT_EQ(first->idt_base, 0xfffffe0000000000);
    EXPECT_EQ(first->idt_limit, 0xfffu);
    EXPECT_EQ(first->gdt_base, 0xfffffe0000001000);
    EXPECT_EQ(first->gdt_limit, 0x7fu);
    const auto second = parse_registers(kText, 1);
    ASSERT_TRUE(second.has_value());
    EXPECT_EQ(second->valid, kAll);
    EXPECT_EQ(second->rip, 0xfff0u);
    EXPECT_EQ(second->cr0, 0x60000010u);
    EXPECT_EQ(second->gdt_limit, 0xffffu);
}

TEST(Registers, what_is_not_there_is_not_valid) {
    EXPECT_FALSE(parse_registers(kText, 2).has_value());
    EXPECT_FALSE(parse_registers("", 0).has_value());
    EXPECT_FALSE(parse_registers("CPU#0\nnothing here\n", 0).has_value());
    const auto some = parse_registers("CPU#0\nCR3=1000 CR4=zz\nGDT= 5\n", 0);
    ASSERT_TRUE(some.has_value());
    EXPECT_EQ(some->valid, wire::kRegCr3);
    EXPECT_EQ(some->cr3, 0x1000u);
}

TEST(Registers, any_text_gives_registers_or_nothing) {
    std::mt19937_64 random{6};
    for (int round = 0; round < 20'000; ++round) {
        std::string text{kText};
        for (std::uint64_t n = 1 + random() % 6; n > 0; --n) {
            text[random() % text.size()] = static_cast<char>(random());
        }
        text.resize(random() % (text.size() + 1));
        const auto registers = parse_registers(text, static_cast<std::uint32_t>(random() % 3));
        ASSERT_EQ(registers.value_or(wire::Registers{}).valid & ~kAll, 0u);
    }
}

}  // namespace
}  // namespace sgm::qemu
