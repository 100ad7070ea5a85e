// SPDX-License-Identifier: MIT
// Hypercalls from a program in dom0, without Xen's libraries: what a hostile administrator would
// write. One C file each, linked statically, so that it runs in an initramfs.
#ifndef SGM_TESTS_XEN_ATTACKS_PRIVCMD_H
#define SGM_TESTS_XEN_ATTACKS_PRIVCMD_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// Each of these takes what it needs from those before it.
// clang-format off
#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/sys/privcmd.h>
#include <xen/domctl.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/hvm/save.h>
#include <xen/kexec.h>
#include <xen/memory.h>
#include <xen/pmu.h>
#include <xen/sysctl.h>
#include <xen/vcpu.h>
#include <xen/xenoprof.h>
// clang-format on

#include "wire/xen_op.h"

#define PAGE 4096ul

static int privcmd = -1;
static int hypercall_memory = -1;
static unsigned failures;

static void open_privcmd(void) {
    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    hypercall_memory = open("/dev/xen/hypercall", O_RDWR | O_CLOEXEC);
    if (privcmd < 0 || hypercall_memory < 0) {
        perror("/dev/xen/privcmd, /dev/xen/hypercall (is this Xen? is xen-privcmd loaded?)");
        exit(2);
    }
}

// Memory that Xen may read and write while a hypercall runs: never paged out. Zeroed.
static void* hypercall_buffer(size_t size) {
    void* const memory = mmap(NULL, (size + PAGE - 1) / PAGE * PAGE, PROT_READ | PROT_WRITE,
                              MAP_SHARED, hypercall_memory, 0);
    if (memory == MAP_FAILED) {
        perror("mmap of /dev/xen/hypercall");
        exit(2);
    }
    memset(memory, 0, size);
    return memory;
}

// What Xen returns: 0 or more, or a negative errno.
static long hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    privcmd_hypercall_t call = {.op = number, .arg = {a, b, c, d, 0}};
    const int result = ioctl(privcmd, IOCTL_PRIVCMD_HYPERCALL, &call);
    return result < 0 ? -(long)errno : result;
}

static uint64_t address_of(const void* memory) {
    return (uint64_t)(uintptr_t)memory;
}

static long sgm_op(struct sgm_xen_op* op) {
    return hypercall(SGM_XEN_HYPERCALL, address_of(op), 0, 0, 0);
}

// One line for each thing tried. The words before the colon are its name.
__attribute__((format(printf, 2, 3))) static void verdict(bool passed, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs(passed ? "PASS " : "FAIL ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
    va_end(arguments);
    if (!passed) ++failures;
}

// What could not be tried on this machine is neither passed nor failed.
static inline void skip(const char* name, long result) {
    printf("SKIP %s: not here: %s\n", name, strerror((int)-result));
    fflush(stdout);
}

#endif
