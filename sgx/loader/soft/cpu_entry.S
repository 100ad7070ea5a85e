# SPDX-License-Identifier: MIT
# Software EENTER and ENCLU. What the CPU would keep in its own state lies in a record for each
# thread (soft::Outer in cpu.hpp), to which a word of the thread page points.

    .set kRecord, 0xff8  # kSoftThreadOffset
    .set kOuterFs, 0
    .set kOuterGs, 8
    .set kOuterRsp, 16

    .text
# void sgm_soft_enter(Crossing* rdi, entry rsi, thread page rdx, TCS rcx, CSSA r8)
    .globl sgm_soft_enter
    .hidden sgm_soft_enter
    .type sgm_soft_enter, @function
sgm_soft_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdi
    subq $16, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq kRecord(%rdx), %r9
    rdfsbase %rax
    movq %rax, kOuterFs(%r9)
    rdgsbase %rax
    movq %rax, kOuterGs(%r9)
    movq %rsp, kOuterRsp(%r9)

    wrfsbase %rdx
    wrgsbase %rdx
    movq %rcx, %rbx
    movq %rsi, %r11
    movq %r8, %rax
    leaq 1f(%rip), %rcx
    movq 16(%rdi), %rdx
    movq 8(%rdi), %rsi
    movq (%rdi), %rdi
    jmp *%r11

1:  ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $16, %rsp
    popq %rax
    movq %rdi, (%rax)
    movq %rsi, 8(%rax)
    movq %rdx, 16(%rax)
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

# Where the enclave's soft_enclu points. eax = leaf.
    .globl sgm_soft_enclu
    .hidden sgm_soft_enclu
    .type sgm_soft_enclu, @function
sgm_soft_enclu:
    cmpl $4, %eax
    jne 1f
    # EEXIT: to rbx. rcx, where the CPU would leave the AEP, is free, and r8 is zero.
    movq %gs:kRecord, %rcx
    movq kOuterFs(%rcx), %r8
    wrfsbase %r8
    movq kOuterGs(%rcx), %r8
    wrgsbase %r8
    xorl %ecx, %ecx
    xorl %r8d, %r8d
    jmp *%rbx

    # EREPORT, EGETKEY, EACCEPT: on our own stack, with our own FS; the result goes back in rax.
1:  pushq %rbp
    pushq %r12
    movq %rsp, %rbp
    movq %gs:kRecord, %r10
    movq kOuterRsp(%r10), %rsp
    andq $-16, %rsp
    rdfsbase %r12
    movq kOuterFs(%r10), %rdi
    wrfsbase %rdi
    movl %eax, %edi
    movq %rbx, %rsi
    xchgq %rdx, %rcx
    call sgm_soft_leaf
    wrfsbase %r12
    movq %rbp, %rsp
    popq %r12
    popq %rbp
    ret

    .section .note.GNU-stack, "", @progbits
