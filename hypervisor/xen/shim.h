// SPDX-License-Identifier: MIT
// What the C++ of the Xen port asks of Xen, in fixed-size types: shim.c answers inside the
// hypervisor, tests bring a Xen made of bytes. No header of Xen reaches the C++, no C++ reaches Xen
// but what stands at the end.
//
// All of it is called by one CPU at a time, under the lock of the hypercall.
#ifndef SGM_HYPERVISOR_XEN_SHIM_H
#define SGM_HYPERVISOR_XEN_SHIM_H

#ifdef __XEN__
#include <xen/types.h>
#elif defined(__cplusplus)
#include <cstddef>
#include <cstdint>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Xen's struct domain.
struct domain;

// --- Time, randomness, vector registers

// Nanoseconds since boot. Dom0 sets Xen's wall clock, not this.
uint64_t sgm_xen_now_ns(void);

// Between the two, vector registers may be used: the guest's are saved. Not nested; nothing that
// could sleep or run softirqs in between.
void sgm_xen_vector_begin(void);
void sgm_xen_vector_end(void);

// --- Domains

// The domain of this uuid, with a reference; a null pointer when there is none, when it is being
// destroyed, or when it is the caller's own.
struct domain* sgm_xen_find(const uint8_t* uuid);
// Gives the reference and all pages back that were read through it.
void sgm_xen_release(struct domain* d);

struct sgm_xen_domain_info {
    uint64_t epoch;          // another number for each domain that was ever created, or reset
    uint64_t end;            // of its memory: no page lies at or after this address
    uint32_t vcpu_count;     // those that exist
    uint32_t is_gone;        // 1: being destroyed
    uint32_t is_protected;   // 1: dom0 is kept out, and holds nothing from before
    uint32_t physical_bits;  // MAXPHYADDR that its page tables are held to
};
void sgm_xen_describe(struct domain* d, struct sgm_xen_domain_info* info);

// Copies `size` bytes that lie in one page. Addresses are the domain's physical ones, of a PV
// domain machine addresses. Allocates nothing, waits for nothing: memory that is not populated yet
// reads as zeros. 0, or -1: not memory of this domain, or ballooned, paged or shared away.
int sgm_xen_read(struct domain* d, uint64_t address, void* out, uint32_t size);

// The first stretch of memory at or after `start` and before `end` that may be populated; size 0:
// none. Bounded work: may name a stretch that is not populated when it looked for long.
struct sgm_xen_stretch {
    uint64_t start;
    uint64_t size;
};
struct sgm_xen_stretch sgm_xen_populated(struct domain* d, uint64_t start, uint64_t end);

struct sgm_xen_registers {
    uint64_t valid;  // bits of wire::RegisterMask
    uint64_t cr0, cr3, cr4;
    uint64_t efer, lstar, cstar, sysenter_eip;
    uint64_t idt_base, idt_limit;
    uint64_t gdt_base, gdt_limit;
    uint64_t rip;
};
// Stops the vCPU for a moment. 0, or -1.
int sgm_xen_read_registers(struct domain* d, uint32_t vcpu, struct sgm_xen_registers* out);

// 0: its vCPUs stand still until sgm_xen_unpause(). -1: they cannot be held.
int sgm_xen_pause(struct domain* d);
void sgm_xen_unpause(struct domain* d);

// --- What shim.c calls: the port itself (entry.cpp)

// Bytes of memory that sgm_xen_start() wants, aligned to 64.
uint64_t sgm_xen_memory_size(void);

struct sgm_xen_keys {
    uint8_t public_key[32];  // X25519: what an authority enrolls
    uint8_t key_id[32];      // SHA-256 of it
};
// Checks the cryptography, makes the identity key. Returns an enum sgm_xen_feature; `keys` is
// filled when that is SGM_XEN_ON. `authority`: 32 bytes; a null pointer: there is none.
uint32_t sgm_xen_start(void* memory, const uint8_t* authority, uint32_t allow_software_sgx,
                       struct sgm_xen_keys* keys);

// One frame, in memory that nobody else can write to; `reply`: SGM_XEN_MAX_REPLY bytes. Returns the
// reply's size.
uint32_t sgm_xen_serve(const uint8_t* call, uint32_t size, uint8_t* reply);

uint32_t sgm_xen_open_sessions(void);

#ifdef SGM_XEN_TEST_BUILD
// 1: sgm_test_wrong_answer is on Xen's command line; the self-test is to fail.
uint32_t sgm_xen_wants_wrong_answers(void);
// A batch without session or seal; takes over the reference to `d`. Returns the answer's size, 0:
// not a batch.
uint32_t sgm_xen_serve_plain(struct domain* d, const uint8_t* batch, uint32_t size, uint8_t* answer,
                             uint32_t capacity);
// Seals `size` bytes of `buffer`; `unsaved`: without saving the caller's vector registers.
void sgm_xen_seal_for_test(uint8_t* buffer, uint32_t size, uint32_t unsaved);
#endif

#ifdef __cplusplus
}
#endif

#endif
