# SPDX-License-Identifier: MIT
# For tests: EENTER by a host that sets hostile flags, and writes down every register as the
# enclave left it at EEXIT.

    .bss
    .balign 32
# General registers in the order rax rbx rcx rdx rsi rdi rbp rsp r8-r15, then ymm0-15.
    .globl sgm_test_left
    .hidden sgm_test_left
sgm_test_left:
    .zero 16 * 8 + 16 * 32
# zmm0-31 and k0-7, where sgm_test_wide says that there are any.
    .globl sgm_test_left_wide
    .hidden sgm_test_left_wide
sgm_test_left_wide:
    .zero 32 * 64 + 8 * 8
    .globl sgm_test_wide
    .hidden sgm_test_wide
sgm_test_wide:
    .zero 8
# rsp, rbp and the return address that the host had at EENTER.
    .globl sgm_test_host
    .hidden sgm_test_host
sgm_test_host:
    .zero 3 * 8
    .globl sgm_test_flags
    .hidden sgm_test_flags
sgm_test_flags:
    .zero 8
    .globl sgm_test_mxcsr
    .hidden sgm_test_mxcsr
sgm_test_mxcsr:
    .zero 8
outer_mxcsr:
    .zero 8
hostile_x87:
    .zero 8

    .text
# void sgm_test_enter(ecall rdi, argument rsi, entry rdx, thread page rcx, TCS r8, CSSA r9)
    .globl sgm_test_enter
    .hidden sgm_test_enter
    .type sgm_test_enter, @function
sgm_test_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr outer_mxcsr(%rip)
    rdfsbase %rax
    movq 0xff8(%rcx), %r10  # kSoftThreadOffset: soft::Outer, FS first
    movq %rax, (%r10)
    movq $0x7272, %rbp
    movq %rsp, sgm_test_host(%rip)
    movq %rbp, 8 + sgm_test_host(%rip)
    leaq 1f(%rip), %rax
    movq %rax, 16 + sgm_test_host(%rip)

    wrfsbase %rcx
    wrgsbase %rcx
    movq %r8, %rbx
    movq %rdx, %r11
    leaq 1f(%rip), %rcx
    # Every SIMD exception unmasked, and round towards zero.
    movl $0x6000, sgm_test_mxcsr(%rip)
    ldmxcsr sgm_test_mxcsr(%rip)
    # x87: every exception unmasked, single precision, a full register stack.
    .rept 8
    fldz
    .endr
    movw $0x0c40, hostile_x87(%rip)
    fldcw hostile_x87(%rip)
    # DF and AC.
    pushfq
    orq $0x40400, (%rsp)
    popfq
    movq %r9, %rax
    jmp *%r11

1:  movq %rax, sgm_test_left(%rip)
    movq %rbx, 8 + sgm_test_left(%rip)
    movq %rcx, 16 + sgm_test_left(%rip)
    movq %rdx, 24 + sgm_test_left(%rip)
    movq %rsi, 32 + sgm_test_left(%rip)
    movq %rdi, 40 + sgm_test_left(%rip)
    movq %rbp, 48 + sgm_test_left(%rip)
    movq %rsp, 56 + sgm_test_left(%rip)
    movq %r8, 64 + sgm_test_left(%rip)
    movq %r9, 72 + sgm_test_left(%rip)
    movq %r10, 80 + sgm_test_left(%rip)
    movq %r11, 88 + sgm_test_left(%rip)
    movq %r12, 96 + sgm_test_left(%rip)
    movq %r13, 104 + sgm_test_left(%rip)
    movq %r14, 112 + sgm_test_left(%rip)
    movq %r15, 120 + sgm_test_left(%rip)
    leaq 128 + sgm_test_left(%rip), %rax
    .set offset, 0
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu %ymm\register, offset(%rax)
    .set offset, offset + 32
    .endr
    pushfq
    popq sgm_test_flags(%rip)
    cmpq $0, sgm_test_wide(%rip)
    je 2f
    leaq sgm_test_left_wide(%rip), %rax
    .set offset, 0
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqu64 %zmm\register, offset(%rax)
    .set offset, offset + 64
    .endr
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq %k\register, offset(%rax)
    .set offset, offset + 8
    .endr
2:
    cld
    pushq $2
    popfq
    stmxcsr sgm_test_mxcsr(%rip)
    ldmxcsr outer_mxcsr(%rip)
    fninit
    vzeroupper
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    .section .note.GNU-stack, "", @progbits
