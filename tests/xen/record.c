// SPDX-License-Identifier: MIT
// A host that looks: loaded into sgmonitord (LD_PRELOAD), it records every byte of every buffer
// that goes to Xen or comes back, at the system call, in the format of tests/hostile/capture.hpp.
// SGM_RECORD names the file; channel 0, or 1 for a call that Xen refused.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "wire/xen_op.h"

// Linux, include/uapi/xen/privcmd.h.
struct hypercall {
    uint64_t number;
    uint64_t arguments[5];
};
#define HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct hypercall))

struct header {
    uint32_t channel;
    uint32_t direction;  // 0: to Xen, 1: from it
    uint64_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE* file;

static void record(uint32_t channel, uint32_t direction, const void* bytes, uint64_t size) {
    const struct header header = {channel, direction, size};
    if (fwrite(&header, sizeof header, 1, file) != 1 ||
        (size != 0 && fwrite(bytes, size, 1, file) != 1) || fflush(file) != 0) {
        // A record with a hole would prove nothing.
        fputs("record: the record cannot be written\n", stderr);
        _exit(1);
    }
}

static int (*next_ioctl)(int, unsigned long, ...);

static void begin(void) {
    *(void**)&next_ioctl = dlsym(RTLD_NEXT, "ioctl");
    const char* const path = getenv("SGM_RECORD");
    if (path) file = fopen(path, "ab");
}

int ioctl(int descriptor, unsigned long request, ...) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    va_list arguments;
    va_start(arguments, request);
    void* const argument = va_arg(arguments, void*);
    va_end(arguments);
    const struct hypercall* const call = argument;
    if (!file || request != HYPERCALL || call->number != SGM_XEN_HYPERCALL)
        return next_ioctl(descriptor, request, argument);

    struct sgm_xen_op* const op = (void*)(uintptr_t)call->arguments[0];
    pthread_mutex_lock(&lock);
    record(0, 0, op, sizeof *op);
    if (op->command == SGM_XEN_CALL)
        record(0, 0, (void*)(uintptr_t)op->u.call.call, op->u.call.call_size);
    const int result = next_ioctl(descriptor, request, argument);
    const int error = errno;
    record(result < 0, 1, op, sizeof *op);
    if (result >= 0 && op->command == SGM_XEN_CALL)
        record(0, 1, (void*)(uintptr_t)op->u.call.reply, op->u.call.reply_size);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
