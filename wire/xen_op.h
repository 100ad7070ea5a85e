// SPDX-License-Identifier: MIT
// The hypercall of the Xen port: how dom0 hands a frame of sgm_op.hpp to the hypervisor, and what
// else it may ask for. C11 and C++: Xen's C shim, dom0 programs and tests all include it.
//
// Hypercall 52 takes one argument: the address of a struct sgm_xen_op in the caller's memory. Linux
// programs reach it through /dev/xen/privcmd (IOCTL_PRIVCMD_HYPERCALL). The struct and the buffers
// it names must be present in the page tables while the hypercall runs: mmap them from
// /dev/xen/hypercall. Dom0 controls every byte of them, at any time: Xen copies the struct and the
// call once each, and writes the reply and the struct once each.
//
// Returns 0, or a negative errno as every hypercall does:
//   -EPERM       the caller is not dom0
//   -EFAULT      an address is not memory of the caller. With `call`, the reply is lost then.
//   -EINVAL      version, command, domain or size out of range, or a reserved field not 0
//   -ESRCH       no such domain
//   -EACCES      `protect` of a domain that has a device model, a device, a debugger, event or
//   trace
//                channels, or is being saved: these would go on behind protection's back
//   -EOPNOTSUPP  `call` while the feature is off (`state` says why), or a command of the test build
#ifndef SGM_WIRE_XEN_OP_H
#define SGM_WIRE_XEN_OP_H

#ifdef __XEN__
#include <xen/types.h>
#elif defined(__cplusplus)
#include <cstddef>
#include <cstdint>
#else
#include <stddef.h>
#include <stdint.h>
#endif

// __HYPERVISOR_arch_4 (xen/include/public/xen.h), which Xen 4.17 leaves free on x86.
#define SGM_XEN_HYPERCALL 52
#define SGM_XEN_VERSION 1
// For `domid` where a command asks for no domain.
#define SGM_XEN_NO_DOMAIN 0xffffffffu

enum sgm_xen_command {
    SGM_XEN_CALL = 1,     // one frame of sgm_op.hpp in, one out
    SGM_XEN_PROTECT = 2,  // keep dom0 out of a domain, until the domain is destroyed
    SGM_XEN_STATE = 3,    // what works here, and whether a domain is protected
    // In the test build of Xen only; elsewhere -EOPNOTSUPP. Never give these to users.
    SGM_XEN_TEST_BATCH = 0x100,      // a batch without session or seal, for comparisons of speed
    SGM_XEN_TEST_REGISTERS = 0x101,  // seals something, with or without saving vector registers
};

// What the feature is, in `state`.
enum sgm_xen_feature {
    SGM_XEN_ON = 0,
    SGM_XEN_NO_AUTHORITY = 1,   // no sgm_authority= on Xen's command line, or not 64 hex digits
    SGM_XEN_NO_AES = 2,         // the CPU has no AES-NI, PCLMULQDQ or SSSE3
    SGM_XEN_NO_RANDOMNESS = 3,  // neither RDSEED nor RDRAND, or they fail
    SGM_XEN_SELF_TEST_FAILED = 4,
};

// SGM_XEN_CALL. A call of at most SGM_XEN_MAX_CALL bytes, as `Core::sgm_op` takes it. There must be
// room for the longest reply, so that none is lost after a session has counted it.
#define SGM_XEN_MAX_CALL (16u + 48u + 65536u)
#define SGM_XEN_MAX_REPLY (16u + 48u + 1048576u)
struct sgm_xen_call {
    uint64_t call;            // 0   in: address of the frame
    uint64_t reply;           // 8   in: address of room for the reply
    uint32_t call_size;       // 16  in: bytes
    uint32_t reply_capacity;  // 20  in: bytes, at least SGM_XEN_MAX_REPLY
    uint32_t reply_size;      // 24  out: bytes
    uint32_t reserved[5];     // 28  0
};

// SGM_XEN_PROTECT. One way. It may be repeated, to count again. PV and PVH domains only.
struct sgm_xen_protect {
    uint64_t reserved0;  // 0   0
    // out: pages of the domain that other domains have mapped although it did not grant them: what
    // was mapped before. Mapping more is refused from now on; these stay until they are unmapped.
    uint32_t foreign_mappings;  // 8
    // out: pages that other domains have mapped and that the domain granted to them
    uint32_t granted_mappings;  // 12
    uint32_t reserved[8];       // 16  0
};

// SGM_XEN_STATE. `domid` may be SGM_XEN_NO_DOMAIN.
struct sgm_xen_state {
    uint32_t feature;           // 0   out: enum sgm_xen_feature
    uint32_t is_protected;      // 4   out: 1: dom0 is kept out of `domid`
    uint32_t foreign_mappings;  // 8   out: as `protect` last counted them
    uint32_t open_sessions;     // 12  out: of all domains
    uint64_t calls;             // 16  out: SGM_XEN_CALL since boot
    uint64_t refusals;          // 24  out: what dom0 was refused because of protection, since boot
    uint32_t is_test_build;     // 32  out: 1: has the TEST commands
    uint32_t reserved[3];       // 36  0
};

// SGM_XEN_TEST_BATCH: `domid`, a wire::BatchHeader and operations in plain text, the same out.
struct sgm_xen_test_batch {
    uint64_t batch;            // 0   in: address
    uint64_t answer;           // 8   in: address of room for the answer
    uint32_t batch_size;       // 16  in: bytes, at most 64 KiB
    uint32_t answer_capacity;  // 20  in: bytes
    uint32_t answer_size;      // 24  out: bytes
    uint32_t reserved[5];      // 28  0
};

// SGM_XEN_TEST_REGISTERS: the caller fills its vector registers before and looks at them after.
struct sgm_xen_test_registers {
    uint32_t unsaved;       // 0   in: 1: leave out the saving, so that the test can fail
    uint32_t size;          // 4   in: bytes to seal, at most 64 KiB
    uint32_t reserved[10];  // 8   0
};

struct sgm_xen_op {
    uint32_t version;   // 0   in: SGM_XEN_VERSION
    uint32_t command;   // 4   in: enum sgm_xen_command
    uint32_t domid;     // 8   in: which domain; SGM_XEN_NO_DOMAIN with `call`
    uint32_t reserved;  // 12  0
    union {             // 16
        struct sgm_xen_call call;
        struct sgm_xen_protect protect;
        struct sgm_xen_state state;
        struct sgm_xen_test_batch test_batch;
        struct sgm_xen_test_registers test_registers;
    } u;
};

#ifdef __cplusplus
static_assert(sizeof(sgm_xen_op) == 64);
static_assert(offsetof(sgm_xen_op, u) == 16);
static_assert(sizeof(sgm_xen_call) == 48);
static_assert(sizeof(sgm_xen_protect) == 48);
static_assert(sizeof(sgm_xen_state) == 48);
static_assert(sizeof(sgm_xen_test_batch) == 48);
static_assert(sizeof(sgm_xen_test_registers) == 48);
#else
_Static_assert(sizeof(struct sgm_xen_op) == 64, "struct sgm_xen_op");
_Static_assert(sizeof(struct sgm_xen_call) == 48, "struct sgm_xen_call");
_Static_assert(sizeof(struct sgm_xen_protect) == 48, "struct sgm_xen_protect");
_Static_assert(sizeof(struct sgm_xen_state) == 48, "struct sgm_xen_state");
_Static_assert(sizeof(struct sgm_xen_test_batch) == 48, "struct sgm_xen_test_batch");
_Static_assert(sizeof(struct sgm_xen_test_registers) == 48, "struct sgm_xen_test_registers");
#endif

#endif
