# SPDX-License-Identifier: MIT
# The one door of the enclave, for each of its threads. Untrusted code comes in at enclave_entry with registers of its
# choice; it leaves by EEXIT with nothing of the enclave in any register.
#
# On EENTER (Intel SDM vol. 3D, 40.4): rax = CSSA, rbx = TCS, rcx = the address after EENTER. Ours:
# rdi = wire::EcallNumber or kReturnFromOcall, rsi = argument. On EEXIT: rdi = wire::ExitReason,
# rsi = ECALL result, OCALL number or abort reason, rdx = OcallFrame. rsp and rbp are the host's
# again, as the kernel's vDSO wants.
#
# What an entry must not forget (J. Van Bulck et al., "A Tale of Two Worlds", CCS 2019, collects how
# runtimes forgot it), and where it is done:
#   DF clear before any string instruction      cld, first of all (CVE-2019-14565)
#   AC, TF, NT, IOPL clear                       popfq from our own stack
#   x87 control word, MXCSR, vector registers    XRSTOR on entry (CVE-2020-0561) and on exit
#   own stack before anything is pushed          rsp from rbx, the TCS that the CPU gives
#   ECALL number and thread state checked        kState; sgm_enclave_ecall; a fence behind each check
#   no register carries a secret out             .Lscrub; no red zone (-mno-red-zone)

# The thread page, to which FS and GS point; measured as zeros. Code with stack protector (the
# static libraries of the distribution) reads its canary at %fs:0x28.
    .set kState, 0x40
    .set kHostRsp, 0x48
    .set kHostRbp, 0x50
    .set kHostReturn, 0x58
    .set kOcallRsp, 0x60

    .set kIdle, 0
    .set kRunning, 1
    .set kInOcall, 2
    .set kDead, 3

# wire/enclave_abi.hpp
    .set kExitEcallDone, 0
    .set kExitOcall, 1
    .set kExitAbort, 2
    .set kBadArgument, 1
    .set kAlreadyRunning, 2
    .set kException, 5
    .set kStackTopFromTcs, -4096  # sgx/image/layout.hpp: the same for every thread

# x87, SSE, AVX and AVX-512: every state component that an enclave of ours may have.
    .set kXstateMask, 0xe7

    .macro clean_extended_state
    movl $kXstateMask, %eax
    xorl %edx, %edx
    xrstor clean_state(%rip)
    .endm

    .macro remember_host
    movq %rsp, %gs:kHostRsp
    movq %rbp, %gs:kHostRbp
    movq %rcx, %gs:kHostReturn
    .endm

    .section .text.entry, "ax", @progbits
    .globl enclave_entry
    .hidden enclave_entry
    .type enclave_entry, @function
enclave_entry:
    cld
    # CSSA > 0: an exception lies in the SSA. There is no handler inside: what faulted stays where
    # it is, and the host learns only that.
    testq %rax, %rax
    jnz .Lexception
    cmpq $-1, %rdi
    je .Lreturn_from_ocall

    cmpq $kIdle, %gs:kState
    jne .Lalready_running
    # One thread left for good: what it left behind is nothing that another could go on with.
    cmpq $0, enclave_dead(%rip)
    jne .Lalready_running
    # Nobody goes on speculatively whom the checks above have refused.
    lfence
    movq $kRunning, %gs:kState
    remember_host
    leaq kStackTopFromTcs(%rbx), %rsp
    # AC, TF, NT and the rest, on our own stack, where the host cannot change what popfq reads.
    pushq $2
    popfq
    xorl %ebp, %ebp
    clean_extended_state
    movq %rbx, %rdx
    call sgm_enclave_ecall
    movq $kIdle, %gs:kState
    movq %rax, %rsi
    movl $kExitEcallDone, %edi
    xorl %edx, %edx

# rdi, rsi, rdx: what the host shall see.
.Lexit:
    movq %gs:kHostReturn, %rbx
    movq %gs:kHostRsp, %rsp
    movq %gs:kHostRbp, %rbp
.Lscrub:
    movq %rdx, %r8
    clean_extended_state
    movq %r8, %rdx
    xorl %ecx, %ecx
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    movl $4, %eax  # EEXIT
    jmp sgm_enclu

# Refusals: the host's rsp and rbp were not touched, and no state of ours is.
.Lexception:
    movl $kExitAbort, %edi
    movl $kException, %esi
    jmp .Lrefuse
.Lalready_running:
    movl $kExitEcallDone, %edi
    movl $kAlreadyRunning, %esi
    jmp .Lrefuse
.Lno_ocall:
    movl $kExitEcallDone, %edi
    movl $kBadArgument, %esi
.Lrefuse:
    movq %rcx, %rbx
    xorl %edx, %edx
    jmp .Lscrub

.Lreturn_from_ocall:
    cmpq $kInOcall, %gs:kState
    jne .Lno_ocall
    cmpq $0, enclave_dead(%rip)
    jne .Lno_ocall
    lfence
    movq $kRunning, %gs:kState
    remember_host
    movq %gs:kOcallRsp, %rsp
    pushq $2
    popfq
    clean_extended_state
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

# void sgm_enclave_ocall(std::uint64_t number, std::uint64_t frame)
    .globl sgm_enclave_ocall
    .hidden sgm_enclave_ocall
    .type sgm_enclave_ocall, @function
sgm_enclave_ocall:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %gs:kOcallRsp
    movq $kInOcall, %gs:kState
    movq %rsi, %rdx
    movq %rdi, %rsi
    movl $kExitOcall, %edi
    jmp .Lexit

# [[noreturn]] void sgm_enclave_abort(std::uint64_t reason)
    .globl sgm_enclave_abort
    .hidden sgm_enclave_abort
    .type sgm_enclave_abort, @function
sgm_enclave_abort:
    movq $kDead, %gs:kState
    movq $1, enclave_dead(%rip)
    movq %rdi, %rsi
    movl $kExitAbort, %edi
    xorl %edx, %edx
    jmp .Lexit

# std::uint64_t sgm_enclave_leaf(leaf, rbx, rcx, rdx): EREPORT, EGETKEY and EACCEPT.
    .globl sgm_enclave_leaf
    .hidden sgm_enclave_leaf
    .type sgm_enclave_leaf, @function
sgm_enclave_leaf:
    pushq %rbx
    movq %rdi, %rax
    movq %rsi, %rbx
    xchgq %rdx, %rcx
    call sgm_enclu
    popq %rbx
    ret

# Every ENCLU of the enclave. `soft_enclu` is measured as zero and lies in a read-only page: on a
# CPU with SGX nothing can ever change it. The software loader, which is the CPU there, writes the
# address of its own ENCLU into it after EINIT, so that both run the same enclave.
    .globl sgm_enclu
    .hidden sgm_enclu
    .type sgm_enclu, @function
sgm_enclu:
    cmpq $0, soft_enclu(%rip)
    jne 1f
    enclu
    ret
1:  jmp *soft_enclu(%rip)

    .section .data.entry, "aw", @progbits
    .balign 8
enclave_dead:
    .quad 0

    .section .rodata.entry, "a", @progbits
    .balign 8
    .globl soft_enclu
    .hidden soft_enclu
    .type soft_enclu, @object
    .size soft_enclu, 8
soft_enclu:
    .quad 0

# An XSAVE area of 512 + 64 bytes whose XSTATE_BV is 0: XRSTOR brings every component into its
# initial state, and MXCSR to the value here.
    .balign 64
clean_state:
    .zero 24
    .long 0x1f80
    .zero 548

# Filled in at signing (sgx/image); in assembly, so that no compiler knows what they hold.
    .section .sgm_config, "a", @progbits
    .balign 4096
    .globl sgm_measured_config
    .hidden sgm_measured_config
    .type sgm_measured_config, @object
    .size sgm_measured_config, 4096
sgm_measured_config:
    .ascii "SSGMCFG1"
    .zero 4088

    .section .sgm_layout, "a", @progbits
    .balign 64
    .globl sgm_enclave_layout
    .hidden sgm_enclave_layout
    .type sgm_enclave_layout, @object
    .size sgm_enclave_layout, 104
sgm_enclave_layout:
    .ascii "SSGMLAY2"
    .zero 96

    .section .note.GNU-stack, "", @progbits
