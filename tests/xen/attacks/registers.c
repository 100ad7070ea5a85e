// SPDX-License-Identifier: MIT
// Are the vector registers of whoever makes the hypercall as they were, when Xen has sealed
// something with them in between? For the test build of Xen (SGM_XEN_TEST_REGISTERS). The negative
// control is the same without saving: a test that finds nothing there would find nothing anywhere.
#include "privcmd.h"

#define CALLS 2000
#define UNSAVED_CALLS 200
#define SEALED_BYTES 4096

struct registers {
    unsigned char bytes[16][16];
} __attribute__((aligned(16)));

#define LOAD(n) "movdqa " #n "*16(%[before]), %%xmm" #n "\n\t"
#define STORE(n) "movdqa %%xmm" #n ", " #n "*16(%[after])\n\t"
#define ALL(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)

// ioctl(descriptor, IOCTL_PRIVCMD_HYPERCALL, call) with these registers: nothing of a library is
// between filling and reading them. (Linux x86-64: number in rax, arguments in rdi, rsi, rdx.)
static long ioctl_with(const struct registers* before, struct registers* after,
                       privcmd_hypercall_t* call) {
    long result = 16;  // __NR_ioctl
    asm volatile(ALL(LOAD) "syscall\n\t" ALL(STORE)
                 : "+a"(result)
                 : [before] "r"(before), [after] "r"(after), "D"((long)privcmd),
                   "S"(IOCTL_PRIVCMD_HYPERCALL), "d"(call)
                 : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return result;
}

static void fill(struct registers* registers, unsigned round) {
    for (unsigned i = 0; i < 16; ++i)
        memset(registers->bytes[i], (int)(round * 16 + i + 1), 16);
}

// How many of so many calls changed a register; or a negative errno.
static long count_changed(struct sgm_xen_op* op, unsigned calls, bool saves) {
    long changed = 0;
    for (unsigned round = 0; round < calls; ++round) {
        *op = (struct sgm_xen_op){.version = SGM_XEN_VERSION,
                                  .command = SGM_XEN_TEST_REGISTERS,
                                  .domid = SGM_XEN_NO_DOMAIN};
        op->u.test_registers.unsaved = !saves;
        op->u.test_registers.size = SEALED_BYTES;
        privcmd_hypercall_t call = {.op = SGM_XEN_HYPERCALL, .arg = {address_of(op)}};
        struct registers before, after;
        fill(&before, round);
        const long result = ioctl_with(&before, &after, &call);
        if (result < 0) return result;
        changed += memcmp(&before, &after, sizeof before) != 0;
    }
    return changed;
}

int main(void) {
    open_privcmd();
    struct sgm_xen_op* const op = hypercall_buffer(sizeof(*op));
    const long saved = count_changed(op, CALLS, true);
    verdict(saved == 0, "vector registers over a sealing hypercall: changed in %ld of %d", saved,
            CALLS);
    const long unsaved = count_changed(op, UNSAVED_CALLS, false);
    verdict(unsaved == UNSAVED_CALLS, "without saving them, the control: changed in %ld of %d",
            unsaved, UNSAVED_CALLS);
    return failures == 0 ? 0 : 1;
}
