# SPDX-License-Identifier: MIT
# For tests: __vdso_sgx_enter_enclave after its documented contract (<asm/sgx.h>), and the register
# work of ENCLU that C++ cannot do. What the contract lets an enclave clobber is clobbered.

    .set kEenter, 2
    .set kEresume, 3
    .set kEexit, 4
    .set kEinval, 22

    # struct sgx_enclave_run, and where the caller's seventh argument lies relative to rbp.
    .set kRunArgument, 16
    .set kRunTcs, 0
    .set kRunFunction, 8
    .set kRunVector, 12
    .set kRunErrorCode, 14
    .set kRunAddress, 16
    .set kRunHandler, 24
    .set kRunReserved, 40
    .set kRunEnd, 256

    # FakeThread
    .set kGs, 0
    .set kFs, 8
    .set kEntry, 16
    .set kCssa, 24
    .set kBusy, 32
    .set kAep, 40
    .set kOuterFs, 48
    .set kOuterGs, 56
    .set kOuterRsp, 64
    .set kOuterRbp, 72
    .set kSsa, 80
    .set kGpr, 88
    .set kIretFrame, 96
    .set kFaultVector, 136
    .set kFaultError, 144
    .set kFaultAddress, 152
    .set kThreadSize, 192

    .text
    .globl sgm_fake_vdso_sgx_enter_enclave
    .type sgm_fake_vdso_sgx_enter_enclave, @function
sgm_fake_vdso_sgx_enter_enclave:
    pushq %rbp
    movq %rsp, %rbp
    pushq %rbx
    movl %ecx, %eax
.Lagain:
    cmpl $kEenter, %eax
    jb .Linvalid
    cmpl $kEresume, %eax
    ja .Linvalid
    movq kRunArgument(%rbp), %rcx
    movl $kRunReserved, %ebx
1:  cmpq $0, (%rcx, %rbx)
    jne .Linvalid
    addq $8, %rbx
    cmpq $kRunEnd, %rbx
    jne 1b
    movq kRunTcs(%rcx), %rbx
    leaq sgm_fake_aep(%rip), %rcx

# Both the way in and the asynchronous exit pointer, as in the kernel's: one ENCLU.
    .globl sgm_fake_aep
    .hidden sgm_fake_aep
sgm_fake_aep:
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rax
    pushq %rcx
    movq %rsp, %r11
    andq $-16, %rsp
    pushq %r11
    pushq %r11
    movl %eax, %edi
    movq %rbx, %rsi
    movq %rcx, %rdx
    call sgm_fake_enclu
    popq %rsp
    popq %rcx
    movq %rax, %rbx    # FakeThread; the TCS is in it
    popq %rax
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdx
    popq %rsi
    popq %rdi
    cmpq $0, kFaultVector(%rbx)
    jne .Lenclu_fault

    movq %rsp, kOuterRsp(%rbx)
    movq %rbp, kOuterRbp(%rbx)
    rdfsbase %rcx
    movq %rcx, kOuterFs(%rbx)
    rdgsbase %rcx
    movq %rcx, kOuterGs(%rbx)
    cmpl $kEresume, %eax
    je .Lresume

    movq kFs(%rbx), %rcx
    wrfsbase %rcx
    movq kGs(%rbx), %rcx
    wrgsbase %rcx
    pushq kEntry(%rbx)
    movq kCssa(%rbx), %rax
    leaq .Lafter_enclu(%rip), %rcx
    movq 160(%rbx), %rbx
    ret

# All registers from the SSA frame. IRET takes the last five at once, and does not touch the
# enclave's stack.
.Lresume:
    movq %rbx, %r15
    movq kSsa(%r15), %rcx
    movl $0xe7, %eax
    xorl %edx, %edx
    xrstor64 (%rcx)
    movq kGpr(%r15), %r14
    movq 168(%r14), %rcx
    wrfsbase %rcx
    movq 176(%r14), %rcx
    wrgsbase %rcx
    movq 136(%r14), %rcx
    movq %rcx, kIretFrame(%r15)
    movq %cs, %rcx
    movq %rcx, kIretFrame+8(%r15)
    movq 128(%r14), %rcx
    movq %rcx, kIretFrame+16(%r15)
    movq 32(%r14), %rcx
    movq %rcx, kIretFrame+24(%r15)
    movq %ss, %rcx
    movq %rcx, kIretFrame+32(%r15)
    leaq kIretFrame(%r15), %rsp
    movq (%r14), %rax
    movq 8(%r14), %rcx
    movq 16(%r14), %rdx
    movq 24(%r14), %rbx
    movq 40(%r14), %rbp
    movq 48(%r14), %rsi
    movq 56(%r14), %rdi
    movq 64(%r14), %r8
    movq 72(%r14), %r9
    movq 80(%r14), %r10
    movq 88(%r14), %r11
    movq 96(%r14), %r12
    movq 104(%r14), %r13
    movq 120(%r14), %r15
    movq 112(%r14), %r14
    iretq

.Lenclu_fault:
    movq kFaultVector(%rbx), %rdi
    movq kFaultError(%rbx), %rsi
    movq kFaultAddress(%rbx), %rdx

# The kernel's fixup of an exception: rax is what ENCLU was to do, rdi vector, rsi error code, rdx
# address.
    .globl sgm_fake_exception
    .hidden sgm_fake_exception
sgm_fake_exception:
    movq kRunArgument(%rbp), %rbx
    movl %eax, kRunFunction(%rbx)
    movw %di, kRunVector(%rbx)
    movw %si, kRunErrorCode(%rbx)
    movq %rdx, kRunAddress(%rbx)
    jmp .Lhandle_exit

.Lafter_enclu:
    movq kRunArgument(%rbp), %rbx
    movl $kEexit, kRunFunction(%rbx)
    # What an enclave may leave behind.
    pcmpeqd %xmm0, %xmm0
    pcmpeqd %xmm15, %xmm15
    pushq $0x7f9f
    ldmxcsr (%rsp)
    movl $0x0f7f, (%rsp)
    fldcw (%rsp)
    addq $8, %rsp
    movq $-1, %r10
    movq $-1, %r11
    movq $-1, %r12
    movq $-1, %r13
    movq $-1, %r14
    movq $-1, %r15
    std

.Lhandle_exit:
    cmpq $0, kRunHandler(%rbx)
    jne .Lhandler
    xorl %eax, %eax
.Lout:
    popq %rbx
    leave
    ret
.Linvalid:
    movl $-kEinval, %eax
    jmp .Lout

.Lhandler:
    movq %rsp, %rcx
    movq %rbx, %rax
    movq %rsp, %rbx
    andq $15, %rbx
    andq $-16, %rsp
    pushq %rax
    pushq %rax
    cld
    call *kRunHandler(%rax)
    leaq 16(%rsp, %rbx), %rsp
    cmpl $0, %eax
    jle .Lout
    jmp .Lagain

# Where the enclave's soft_enclu points: EEXIT, and the leaves that stay inside. eax = leaf. A
# thread inside is known by its GS.
    .globl sgm_fake_enclu_inside
    .hidden sgm_fake_enclu_inside
    .type sgm_fake_enclu_inside, @function
sgm_fake_enclu_inside:
    cmpl $kEexit, %eax
    jne 3f
    rdgsbase %rax
    leaq sgm_fake_threads(%rip), %rcx
1:  cmpq %rax, kGs(%rcx)
    je 2f
    addq $kThreadSize, %rcx
    jmp 1b
2:  movq kOuterFs(%rcx), %rax
    wrfsbase %rax
    movq kOuterGs(%rcx), %rax
    wrgsbase %rax
    movq $0, kBusy(%rcx)
    movq kAep(%rcx), %rcx
    movl $kEexit, %eax
    jmp *%rbx

3:  pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    movq %rsp, %rbp
    rdgsbase %r12
    leaq sgm_fake_threads(%rip), %r13
4:  cmpq %r12, kGs(%r13)
    je 5f
    addq $kThreadSize, %r13
    jmp 4b
5:  rdfsbase %r12
    movq kOuterFs(%r13), %r14
    wrfsbase %r14
    movq kOuterRsp(%r13), %rsp
    andq $-16, %rsp
    movq %rdx, %r8
    movq %rbx, %rdx
    movl %eax, %esi
    movq %r13, %rdi
    call sgm_fake_leaf
    wrfsbase %r12
    movq %rbp, %rsp
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    ret

    .section .note.GNU-stack, "", @progbits
