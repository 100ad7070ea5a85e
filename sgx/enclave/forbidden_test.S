# SPDX-License-Identifier: MIT
# Part of an enclave for check-instructions_test.sh: each function is one instruction that faults in
# an enclave. In the section that the linker always keeps.

    .section .text.entry, "ax", @progbits

    .macro forbidden name:req, code:vararg
    .globl forbidden_\name
    .hidden forbidden_\name
    .type forbidden_\name, @function
forbidden_\name:
    \code
    ret
    .endm

    forbidden cpuid, cpuid
    forbidden syscall, syscall
    forbidden sysenter, sysenter
    forbidden rdtsc, rdtsc
    forbidden rdtscp, rdtscp
    forbidden rdpmc, rdpmc
    forbidden getsec, getsec
    forbidden hlt, hlt
    forbidden int80, int $0x80
    forbidden int3, int3
    forbidden int1, int1
    forbidden iretq, iretq
    forbidden in_dx, in %dx, %al
    forbidden in_port, in $0x60, %eax
    forbidden out_dx, out %eax, %dx
    forbidden insb, insb
    forbidden rep_insl, rep insl
    forbidden outsb, outsb
    forbidden rep_outsl, rep outsl
    forbidden lretq, lretq
    forbidden far_jump, ljmpl *(%rax)
    forbidden far_call, lcalll *(%rax)
    forbidden load_ds, mov %eax, %ds
    forbidden load_fs, mov %eax, %fs
    forbidden load_gs, mov (%rax), %gs
    forbidden pop_fs, pop %fs
    forbidden lss, lss (%rax), %ebx
    forbidden lfs, lfs (%rax), %ebx
    forbidden lgs, lgs (%rax), %ebx
    forbidden sgdt, sgdt (%rax)
    forbidden sidt, sidt (%rax)
    forbidden sldt, sldt %ax
    forbidden str, str %ax
    forbidden smsw, smsw %ax
    forbidden vmcall, vmcall
    forbidden vmfunc, vmfunc
    forbidden enclu, enclu

    .section .note.GNU-stack, "", @progbits
