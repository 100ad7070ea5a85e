# SPDX-License-Identifier: MIT
# Around __vdso_sgx_enter_enclave. It keeps rbx, rbp and rsp only, and nothing of the extended
# state's control words (<asm/sgx.h>); what C++ relies on besides is kept here.

    .text
# int sgm_device_enter(Crossing* rdi, sgx_enclave_run* rsi, ENCLU function edx, vDSO function rcx)
    .globl sgm_device_enter
    .hidden sgm_device_enter
    .type sgm_device_enter, @function
sgm_device_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $24, %rsp
    stmxcsr 16(%rsp)
    fnstcw 20(%rsp)
    # The seventh argument, with the stack aligned at the call.
    movq %rsi, (%rsp)
    movq %rcx, %rax
    movl %edx, %ecx
    movq 16(%rdi), %rdx
    movq 8(%rdi), %rsi
    movq (%rdi), %rdi
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    call *%rax
    ldmxcsr 16(%rsp)
    fldcw 20(%rsp)
    cld
    addq $24, %rsp
    # Nothing that the enclave left there is read by what follows.
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %edi, %edi
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    .section .note.GNU-stack, "", @progbits
