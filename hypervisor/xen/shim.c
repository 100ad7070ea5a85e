/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SGmonitor's port inside Xen 4.17, x86: the hypercall, what the C++ of the port asks of Xen
 * (shim.h), and protected domains. Nothing here trusts dom0: it is let in to carry sealed frames,
 * to protect a domain, and to ask for the state of things.
 */
/* Xen's headers want this order. */
/* clang-format off */
#include <xen/domain_page.h>
#include <xen/event.h>
#include <xen/guest_access.h>
#include <xen/hypercall.h>
#include <xen/init.h>
#include <xen/lib.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/sched.h>
#include <xen/softirq.h>
#include <xen/vm_event.h>
#include <xen/vmap.h>
#include <asm/e820.h>
#include <asm/flushtlb.h>
#include <asm/hvm/hvm.h>
#include <asm/i387.h>
#include <asm/p2m.h>
#include <asm/sgm.h>
#include <public/domctl.h>
#include <public/grant_table.h>
/* clang-format on */

#include "hypervisor/xen/shim.h"

#include "wire/xen_op.h"

/* --- Command line --- */

/* The authority's Ed25519 public key, 64 hexadecimal digits. */
static char __initdata opt_authority[65];
string_param("sgm_authority", opt_authority);

/* Whether an IDS in software SGX may register, if the authority's word lets it. */
static bool __initdata opt_allow_software;
boolean_param("sgm_allow_software", opt_allow_software);

/* Uuids, commas between: domains that are protected from their first unpause on. */
static char __initdata opt_protect[1024];
string_param("sgm_protect", opt_protect);

#ifdef SGM_XEN_TEST_BUILD
static bool __initdata opt_wrong_answer;
boolean_param("sgm_test_wrong_answer", opt_wrong_answer);

uint32_t __init sgm_xen_wants_wrong_answers(void) {
    return opt_wrong_answer;
}
#endif

#define MAX_LISTED 27 /* what the option's text has room for */
static xen_domain_handle_t __read_mostly listed[MAX_LISTED];
static unsigned int __read_mostly listed_count;

/* --- State --- */

DECLARE_BITMAP(sgm_protected_domains, DOMID_FIRST_RESERVED);

/* By domain id, for as long as the domain exists. */
struct domain_record {
    uint64_t epoch;
    uint32_t foreign_mappings; /* as last counted */
    bool is_quiet;             /* no hypercall from before protection is under way */
    bool counted_none;         /* a count after protection began has found none: there are none */
};
static struct domain_record* __read_mostly records;

static enum sgm_xen_feature __read_mostly feature = SGM_XEN_NO_AUTHORITY;
static uint8_t *__read_mostly call_buffer, *__read_mostly reply_buffer;
static uint64_t call_count;
static atomic_t refusal_count = ATOMIC_INIT(0);

/*
 * One hypercall at a time. Not a spinlock: softirqs are served while it is held, and who finds it
 * taken goes back to the guest and comes again.
 */
static unsigned long busy;

static bool enter(void) {
    return !test_and_set_bit(0, &busy);
}

static void leave(void) {
    smp_mb__before_atomic();
    clear_bit(0, &busy);
}

static struct domain_record* record_of(const struct domain* d) {
    return records && d->domain_id < DOMID_FIRST_RESERVED ? &records[d->domain_id] : NULL;
}

static uint64_t new_epoch(void) {
    static DEFINE_SPINLOCK(lock);
    static uint64_t last;
    uint64_t epoch;

    spin_lock(&lock);
    epoch = ++last;
    spin_unlock(&lock);
    return epoch;
}

static bool is_clean(const struct domain* d) {
    const struct domain_record* record = record_of(d);

    return sgm_is_protected(d) && record && record->counted_none;
}

/* --- Time and vector registers --- */

uint64_t sgm_xen_now_ns(void) {
    return NOW();
}

/*
 * As Xen does around calls of the firmware (common/efi/runtime.c), and more. Where Xen restores
 * registers lazily (AMD), it leaves that to a trap, which CR0.TS brings about. But an HVM or PVH
 * guest runs with a CR0 of its own, and XSAVE of QEMU 7.2 ignores TS (Intel SDM vol. 2: #NM), so
 * that a PV dom0's kernel would save what was left in them: so they are restored here.
 * A PV guest's own TS is set again; an HVM guest that did not use the registers still traps.
 */
static bool vector_registers_live;

void sgm_xen_vector_begin(void) {
    vector_registers_live = current->fpu_dirtied;
    save_fpu_enable();
}

/* What is left of keys in them goes. */
static void clear_vector_registers(void) {
    asm volatile(
        "pxor %xmm0, %xmm0; pxor %xmm1, %xmm1; pxor %xmm2, %xmm2; pxor %xmm3, %xmm3;"
        "pxor %xmm4, %xmm4; pxor %xmm5, %xmm5; pxor %xmm6, %xmm6; pxor %xmm7, %xmm7;"
        "pxor %xmm8, %xmm8; pxor %xmm9, %xmm9; pxor %xmm10, %xmm10; pxor %xmm11, %xmm11;"
        "pxor %xmm12, %xmm12; pxor %xmm13, %xmm13; pxor %xmm14, %xmm14; pxor %xmm15, %xmm15");
}

void sgm_xen_vector_end(void) {
    struct vcpu* v = current;

    clear_vector_registers();
    vcpu_restore_fpu_nonlazy(v, true);
    if (is_idle_vcpu(v) || v->arch.fully_eager_fpu) return;
    if (is_pv_vcpu(v) || vector_registers_live) vcpu_restore_fpu_lazy(v);
    if (is_pv_vcpu(v) && (v->arch.pv.ctrlreg[0] & X86_CR0_TS)) stts();
}

/* --- Domains --- */

struct domain* sgm_xen_find(const uint8_t* uuid) {
    struct domain *d, *found = NULL;

    rcu_read_lock(&domlist_read_lock);
    for_each_domain(d) {
        if (memcmp(d->handle, uuid, sizeof(d->handle)) || d == current->domain || d->is_dying)
            continue;
        if (!get_domain(d)) continue;
        found = d;
        break;
    }
    rcu_read_unlock(&domlist_read_lock);

    return found;
}

/*
 * Pages that were read in this call, with references: page tables and lists are read word by word.
 * Of one domain; given back with it.
 */
#define CACHED_PAGES 128
static struct cached_page {
    unsigned long gfn;
    struct page_info* page; /* NULL: free */
} cached_pages[CACHED_PAGES];
static const struct domain* cached_domain;

static void drop_cached_pages(void) {
    unsigned int i;

    for (i = 0; i < CACHED_PAGES; i++) {
        if (cached_pages[i].page) put_page(cached_pages[i].page);
        cached_pages[i].page = NULL;
    }
    cached_domain = NULL;
}

void sgm_xen_release(struct domain* d) {
    if (cached_domain == d) drop_cached_pages();
    put_domain(d);
}

static unsigned long last_gfn(struct domain* d) {
    return paging_mode_translate(d) ? domain_get_maximum_gpfn(d) : max_page - 1;
}

void sgm_xen_describe(struct domain* d, struct sgm_xen_domain_info* info) {
    const struct domain_record* record = record_of(d);
    unsigned int count = 0;

    while (count < d->max_vcpus && d->vcpu[count])
        count++;
    *info = (struct sgm_xen_domain_info){
        .epoch = record ? record->epoch : 0,
        .end = pfn_to_paddr(last_gfn(d) + 1),
        .vcpu_count = count,
        .is_gone = d->is_dying != DOMDYING_alive,
        .is_protected = is_clean(d),
        .physical_bits = paging_mode_translate(d) ? d->arch.cpuid->extd.maxphysaddr : paddr_bits,
    };
}

/* Long work lets pending softirqs run, all but the scheduler's. */
static void breathe(void) {
    static unsigned int count;

    if (++count % 256 == 0 && softirq_pending(smp_processor_id())) process_pending_softirqs();
}

/* P2M_QUERY (0): nothing is allocated, paged in or unshared for us. */
static struct page_info* find_page(struct domain* d, unsigned long gfn, p2m_type_t* type) {
    struct cached_page* cached = &cached_pages[gfn % CACHED_PAGES];

    *type = p2m_ram_rw;
    if (cached_domain != d) {
        drop_cached_pages();
        cached_domain = d;
    }
    if (cached->page && cached->gfn == gfn) return cached->page;
    if (cached->page) put_page(cached->page);
    cached->page = get_page_from_gfn(d, gfn, type, 0);
    /* What the domain maps of others is not its memory. */
    if (cached->page && p2m_is_foreign(*type)) {
        put_page(cached->page);
        cached->page = NULL;
    }
    cached->gfn = gfn;
    return cached->page;
}

int sgm_xen_read(struct domain* d, uint64_t address, void* out, uint32_t size) {
    unsigned int offset = address & ~PAGE_MASK;
    struct page_info* page;
    p2m_type_t type;
    const uint8_t* from;

    if (size > PAGE_SIZE - offset) return -1;
    breathe();
    page = find_page(d, PFN_DOWN(address), &type);
    if (!page) {
        if (!p2m_is_pod(type)) return -1;
        memset(out, 0, size);
        return 0;
    }
    from = __map_domain_page(page);
    from += offset;
    if (size == 8 && !(offset & 7))
        *(uint64_t*)out = read_atomic((const uint64_t*)from);
    else
        memcpy(out, from, size);
    unmap_domain_page(from);
    return 0;
}

#define MAX_LOOKUPS 4096 /* in one call */

struct sgm_xen_stretch sgm_xen_populated(struct domain* d, uint64_t start, uint64_t end) {
    const struct sgm_xen_stretch none = {end, 0};
    unsigned long gfn = PFN_DOWN(start), last = PFN_UP(end);
    unsigned int lookups;

    if (last > last_gfn(d) + 1) last = last_gfn(d) + 1;
    for (lookups = 0; gfn < last; lookups++) {
        unsigned long step = 1;
        bool populated;
        uint64_t from, to;

        if (paging_mode_translate(d)) {
            p2m_type_t type;
            p2m_access_t access;
            unsigned int order = 0;
            struct p2m_domain* p2m = p2m_get_hostp2m(d);

            get_gfn_type_access(p2m, gfn, &type, &access, 0, &order);
            put_gfn(d, gfn);
            step = (1ul << order) - (gfn & ((1ul << order) - 1));
            populated = p2m_is_ram(type);
        } else
            populated = mfn_valid(_mfn(gfn)) && page_get_owner(mfn_to_page(_mfn(gfn))) == d;

        from = max_t(uint64_t, start, pfn_to_paddr(gfn));
        to = min_t(uint64_t, end, pfn_to_paddr(gfn + step));
        if (populated || lookups == MAX_LOOKUPS) return (struct sgm_xen_stretch){from, to - from};
        gfn += step;
    }
    return none;
}

/* Bits of wire::RegisterMask. */
#define REG_CR0 (1u << 0)
#define REG_CR3 (1u << 1)
#define REG_CR4 (1u << 2)
#define REG_EFER (1u << 3)
#define REG_LSTAR (1u << 4)
#define REG_CSTAR (1u << 5)
#define REG_SYSENTER (1u << 6)
#define REG_IDTR (1u << 7)
#define REG_GDTR (1u << 8)
#define REG_RIP (1u << 9)

static void read_hvm(struct vcpu* v, struct sgm_xen_registers* out) {
    static struct hvm_hw_cpu context; /* under the lock; 1 KiB */
    struct segment_register idtr, gdtr;

    memset(&context, 0, sizeof(context));
    alternative_vcall(hvm_funcs.save_cpu_ctxt, v, &context);
    hvm_get_segment_register(v, x86_seg_idtr, &idtr);
    hvm_get_segment_register(v, x86_seg_gdtr, &gdtr);
    *out = (struct sgm_xen_registers){
        .valid = REG_CR0 | REG_CR3 | REG_CR4 | REG_EFER | REG_LSTAR | REG_CSTAR | REG_SYSENTER |
                 REG_IDTR | REG_GDTR | REG_RIP,
        .cr0 = v->arch.hvm.guest_cr[0],
        .cr3 = v->arch.hvm.guest_cr[3],
        .cr4 = v->arch.hvm.guest_cr[4],
        .efer = v->arch.hvm.guest_efer,
        .lstar = context.msr_lstar,
        .cstar = context.msr_cstar,
        .sysenter_eip = context.sysenter_eip,
        .idt_base = idtr.base,
        .idt_limit = idtr.limit,
        .gdt_base = gdtr.base,
        .gdt_limit = gdtr.limit,
        .rip = v->arch.user_regs.rip,
    };
    memset(&context, 0, sizeof(context));
}

/* A PV kernel has no such registers of its own; these are what Xen keeps for it. */
static void read_pv(struct vcpu* v, struct sgm_xen_registers* out) {
    const struct pv_vcpu* pv = &v->arch.pv;
    bool is_64bit = !is_pv_32bit_vcpu(v);

    *out = (struct sgm_xen_registers){
        .valid = REG_CR0 | REG_CR3 | REG_CR4 | REG_EFER | REG_RIP,
        .cr0 = pv->ctrlreg[0],
        .cr3 = pagetable_get_paddr(v->arch.guest_table),
        .cr4 = pv->ctrlreg[4] | X86_CR4_PAE,
        .efer = EFER_SCE | EFER_NXE | (is_64bit ? EFER_LME | EFER_LMA : 0),
        .rip = v->arch.user_regs.rip,
    };
    if (is_64bit) {
        out->valid |= REG_LSTAR | REG_CSTAR | REG_SYSENTER;
        out->lstar = pv->syscall_callback_eip;
        out->cstar = pv->syscall32_callback_eip;
        out->sysenter_eip = pv->sysenter_callback_eip;
    }
}

int sgm_xen_read_registers(struct domain* d, uint32_t vcpu, struct sgm_xen_registers* out) {
    struct vcpu* v;

    if (d == current->domain || vcpu >= d->max_vcpus || (v = d->vcpu[vcpu]) == NULL ||
        !v->is_initialised)
        return -1;
    vcpu_pause(v);
    if (is_hvm_vcpu(v))
        read_hvm(v, out);
    else
        read_pv(v, out);
    vcpu_unpause(v);
    return 0;
}

int sgm_xen_pause(struct domain* d) {
    if (d == current->domain) return -1;
    domain_pause(d);
    return 0;
}

void sgm_xen_unpause(struct domain* d) {
    domain_unpause(d);
}

/* --- Protected domains: what Xen's own files call (asm/sgm.h) --- */

void sgm_domain_created(const struct domain* d) {
    struct domain_record* record = record_of(d);

    if (d->domain_id < DOMID_FIRST_RESERVED) clear_bit(d->domain_id, sgm_protected_domains);
    if (record) *record = (struct domain_record){.epoch = new_epoch()};
}

void sgm_count_refusal(const struct domain* by, const struct domain* of) {
    atomic_inc(&refusal_count);
    printk(XENLOG_G_WARNING "SGmonitor: d%d is kept out of d%d\n", by->domain_id, of->domain_id);
}

bool sgm_protects_any(void) {
    const struct domain* d;
    bool found = false;

    rcu_read_lock(&domlist_read_lock);
    for_each_domain(d) found |= sgm_is_protected(d);
    rcu_read_unlock(&domlist_read_lock);
    return found;
}

/* Debug keys print registers and stacks of whatever runs. These do not. */
bool sgm_refuses_key(unsigned char key) {
    return !strchr("hR+-AGw", key) && sgm_protects_any();
}

bool sgm_is_ram(uint64_t first_mfn, uint64_t last_mfn) {
    unsigned int i;

    for (i = 0; i < e820.nr_map; i++) {
        const struct e820entry* entry = &e820.map[i];

        if (entry->type == E820_RAM && entry->size && PFN_DOWN(entry->addr) <= last_mfn &&
            PFN_DOWN(entry->addr + entry->size - 1) >= first_mfn)
            return true;
    }
    return false;
}

static void protect(struct domain* d) {
    if (!test_and_set_bit(d->domain_id, sgm_protected_domains))
        printk(XENLOG_INFO "SGmonitor: d%d is protected until it is destroyed\n", d->domain_id);
}

static bool is_listed(const struct domain* d) {
    unsigned int i;

    for (i = 0; i < listed_count; i++)
        if (!memcmp(listed[i], d->handle, sizeof(d->handle))) return true;
    return false;
}

/* Also the moment at which a listed domain becomes protected, and a reset one another. */
bool sgm_decides_domctl(struct domain* d, unsigned int cmd) {
    struct domain_record* record;

    if (!d || d->domain_id >= DOMID_FIRST_RESERVED) return false;
    if (is_control_domain(current->domain)) {
        if (cmd == XEN_DOMCTL_unpausedomain && is_listed(d)) protect(d);
        if (cmd == XEN_DOMCTL_soft_reset && (record = record_of(d)) != NULL)
            record->epoch = new_epoch();
    }
    return d != current->domain && sgm_is_protected(d);
}

/*
 * Of a protected domain, dom0 may run, stop, place, count and destroy it. What is not named is
 * refused: contexts, page tables, logdirty, events, debugging, devices, a new uuid.
 */
int sgm_domctl(const struct domain* d, unsigned int cmd) {
    switch (cmd) {
        case XEN_DOMCTL_destroydomain:
        case XEN_DOMCTL_pausedomain:
        case XEN_DOMCTL_unpausedomain:
        case XEN_DOMCTL_resumedomain:
        case XEN_DOMCTL_getdomaininfo:
        case XEN_DOMCTL_setvcpuaffinity:
        case XEN_DOMCTL_getvcpuaffinity:
        case XEN_DOMCTL_setnodeaffinity:
        case XEN_DOMCTL_getnodeaffinity:
        case XEN_DOMCTL_getvcpuinfo:
        case XEN_DOMCTL_scheduler_op:
        case XEN_DOMCTL_max_mem:
        case XEN_DOMCTL_settimeoffset:
        case XEN_DOMCTL_gettscinfo:
        case XEN_DOMCTL_get_address_size:
        case XEN_DOMCTL_get_cpu_policy:
        case XEN_DOMCTL_sendtrigger:
        case XEN_DOMCTL_subscribe:
        case XEN_DOMCTL_get_paging_mempool_size:
            if (is_control_domain(current->domain)) return 0;
            if (cmd == XEN_DOMCTL_getdomaininfo && is_xenstore_domain(current->domain)) return 0;
            return -EPERM;
    }
    sgm_count_refusal(current->domain, d);
    return -EPERM;
}

/* --- Counting what others have mapped of a protected domain --- */

/*
 * Once protected, no mapping is added, so a count that finds none is final. Where it stands is kept
 * here and not with the caller, who could lie about it.
 */
static struct {
    bool is_running;
    domid_t domid;
    uint64_t epoch;
    unsigned long next_mfn; /* PV page tables first, of all domains */
    domid_t next_domid;     /* then the p2m of each HVM or PVH domain */
    unsigned long next_gfn;
    uint32_t foreign, granted;
} count;

#define MAX_GRANT_LOOKUPS 1024 /* more than that many foreign mappings are no grants */

/* Whether one of @d's version 1 grant entries lets @by have @mfn. */
static bool is_granted(struct domain* d, const struct domain* by, mfn_t mfn) {
    const unsigned long gfn = gfn_x(mfn_to_gfn(d, mfn));
    struct page_info* page;
    bool found = false;

    if (count.foreign >= MAX_GRANT_LOOKUPS) return false;
    /* Grant frames are among the pages of Xen that are shared with the domain. */
    spin_lock(&d->page_alloc_lock);
    page_list_for_each(page, &d->xenpage_list) {
        const grant_entry_v1_t* entries = __map_domain_page(page);
        unsigned int i;

        for (i = 0; page != virt_to_page(d->shared_info) && i < PAGE_SIZE / sizeof(*entries); i++) {
            const grant_entry_v1_t entry = entries[i];

            if ((entry.flags & GTF_type_mask) == GTF_permit_access &&
                entry.domid == by->domain_id && entry.frame == gfn) {
                found = true;
                break;
            }
        }
        unmap_domain_page(entries);
        if (found) break;
    }
    spin_unlock(&d->page_alloc_lock);
    return found;
}

static void note_mapping(struct domain* d, const struct domain* by, mfn_t mfn) {
    if (!mfn_valid(mfn) || page_get_owner(mfn_to_page(mfn)) != d) return;
    if (is_granted(d, by, mfn))
        count.granted++;
    else
        count.foreign++;
}

/* The lowest page tables of PV domains. 0, or -ERESTART. */
static int count_in_page_tables(struct domain* d) {
    unsigned int steps = 0;

    for (; count.next_mfn < max_page; count.next_mfn++) {
        struct page_info* page = mfn_to_page(_mfn(count.next_mfn));
        const l1_pgentry_t* table;
        struct domain* owner;
        unsigned int i;

        if ((++steps & 0x3ff) == 0 && hypercall_preempt_check()) return -ERESTART;
        if (!mfn_valid(_mfn(count.next_mfn)) ||
            (page->u.inuse.type_info & (PGT_type_mask | PGT_validated)) !=
                (PGT_l1_page_table | PGT_validated) ||
            (owner = page_get_owner_and_reference(page)) == NULL)
            continue;
        if (owner != d && is_pv_domain(owner)) {
            steps += 128;
            table = __map_domain_page(page);
            for (i = 0; i < L1_PAGETABLE_ENTRIES; i++)
                if (l1e_get_flags(table[i]) & _PAGE_PRESENT)
                    note_mapping(d, owner, l1e_get_mfn(table[i]));
            unmap_domain_page(table);
        }
        put_page(page);
    }
    return 0;
}

/* What HVM and PVH domains have in their address space. 0, or -ERESTART. */
static int count_in_p2ms(struct domain* d) {
    for (; count.next_domid < DOMID_FIRST_RESERVED; count.next_domid++, count.next_gfn = 0) {
        struct domain* by = rcu_lock_domain_by_id(count.next_domid);
        unsigned int steps = 0;

        if (!by) continue;
        while (by != d && paging_mode_translate(by) && count.next_gfn <= last_gfn(by)) {
            p2m_type_t type;
            p2m_access_t access;
            unsigned int order = 0;
            mfn_t mfn;

            if ((++steps & 0x3ff) == 0 && hypercall_preempt_check()) {
                rcu_unlock_domain(by);
                return -ERESTART;
            }
            mfn =
                get_gfn_type_access(p2m_get_hostp2m(by), count.next_gfn, &type, &access, 0, &order);
            put_gfn(by, count.next_gfn);
            if (p2m_is_foreign(type) || p2m_is_grant(type)) {
                note_mapping(d, by, mfn);
                order = 0;
            }
            count.next_gfn += (1ul << order) - (count.next_gfn & ((1ul << order) - 1));
        }
        rcu_unlock_domain(by);
    }
    return 0;
}

/*
 * A hypercall of another vCPU may have been let through just before protection began, and may map
 * something where the count has been. Vcpus that were stopped have ended their hypercalls. 0, or
 * -ERESTART.
 */
static int wait_for_hypercalls(const struct domain* d) {
    struct domain* by;
    int rc = 0;

    rcu_read_lock(&domlist_read_lock);
    for_each_domain(by) {
        if (!is_control_domain(by) && !is_hardware_domain(by) && by->target != d) continue;
        if ((rc = domain_pause_except_self(by)) != 0) break;
        domain_unpause_except_self(by);
    }
    rcu_read_unlock(&domlist_read_lock);
    return rc;
}

static int count_mappings(struct domain* d) {
    struct domain_record* record = record_of(d);
    int rc;

    if (!count.is_running || count.domid != d->domain_id || count.epoch != record->epoch) {
        memset(&count, 0, sizeof(count));
        count.is_running = true;
        count.domid = d->domain_id;
        count.epoch = record->epoch;
    }
    if ((rc = count_in_page_tables(d)) != 0 || (rc = count_in_p2ms(d)) != 0) return rc;
    count.is_running = false;
    record->foreign_mappings = count.foreign;
    if (count.foreign == 0) {
        /* Nor in what a CPU remembers of page tables as they were. */
        flush_tlb_all();
        record->counted_none = true;
    }
    return 0;
}

/* --- The hypercall --- */

static bool is_zero(const uint32_t* words, unsigned int number) {
    while (number--)
        if (words[number]) return false;
    return true;
}

static XEN_GUEST_HANDLE_PARAM(void) at_guest(uint64_t address) {
    return guest_handle_from_ptr((void*)(unsigned long)address, void);
}

/* The size goes as a number of bytes: copy_from_guest() and its like multiply by that of *@to. */
static int copy_in(uint8_t* to, uint64_t from, uint32_t size) {
    XEN_GUEST_HANDLE_PARAM(void) handle = at_guest(from);

    return copy_from_guest(to, handle, size) ? -EFAULT : 0;
}

static int copy_out(uint64_t to, const uint8_t* from, uint32_t size) {
    XEN_GUEST_HANDLE_PARAM(void) handle = at_guest(to);

    return copy_to_guest(handle, from, size) ? -EFAULT : 0;
}

static int op_call(struct sgm_xen_call* op) {
    int rc;

    if (feature != SGM_XEN_ON) return -EOPNOTSUPP;
    if (op->call_size > SGM_XEN_MAX_CALL || op->reply_capacity < SGM_XEN_MAX_REPLY ||
        !is_zero(op->reserved, ARRAY_SIZE(op->reserved)))
        return -EINVAL;
    if ((rc = copy_in(call_buffer, op->call, op->call_size)) != 0) return rc;
    call_count++;
    op->reply_size = sgm_xen_serve(call_buffer, op->call_size, reply_buffer);
    return copy_out(op->reply, reply_buffer, op->reply_size);
}

/* What would go on reading or writing the domain behind protection's back. */
static bool is_open_already(const struct domain* d) {
#ifdef CONFIG_HVM
    if (is_hvm_domain(d) && (d->arch.emulation_flags & ~(uint32_t)XEN_X86_EMU_LAPIC)) return true;
#endif
    return !list_empty(&d->pdev_list) || d->vmtrace_size || paging_mode_log_dirty(d) ||
           d->debugger_attached || vm_event_check_ring(d->vm_event_monitor);
}

static int op_protect(struct domain* d, struct sgm_xen_protect* op) {
    struct domain_record* const record = record_of(d);
    int rc;

    if (op->reserved0 || !is_zero(op->reserved, ARRAY_SIZE(op->reserved))) return -EINVAL;
    if (d == current->domain || is_control_domain(d) || is_hardware_domain(d) || d->is_dying)
        return -EINVAL;
    if (!record) return -EOPNOTSUPP;
    /* Also of a listed domain: it stays kept from dom0, but is never said to be clean. */
    if (is_open_already(d)) return -EACCES;
    protect(d);
    if (!record->is_quiet) {
        if ((rc = wait_for_hypercalls(d)) != 0) return rc;
        record->is_quiet = true;
    }
    if ((rc = count_mappings(d)) != 0) return rc;
    op->foreign_mappings = count.foreign;
    op->granted_mappings = count.granted;
    return 0;
}

static int op_state(const struct domain* d, struct sgm_xen_state* op) {
    const struct domain_record* record = d ? record_of(d) : NULL;

    if (!is_zero(op->reserved, ARRAY_SIZE(op->reserved))) return -EINVAL;
    *op = (struct sgm_xen_state){
        .feature = feature,
        .is_protected = sgm_is_protected(d),
        .foreign_mappings = record ? record->foreign_mappings : 0,
        .open_sessions = sgm_xen_open_sessions(),
        .calls = call_count,
        .refusals = atomic_read(&refusal_count),
#ifdef SGM_XEN_TEST_BUILD
        .is_test_build = 1,
#endif
    };
    return 0;
}

#ifdef SGM_XEN_TEST_BUILD
static int op_test_batch(struct domain* d, struct sgm_xen_test_batch* op) {
    int rc;

    if (feature != SGM_XEN_ON) return -EOPNOTSUPP;
    if (op->batch_size > 65536 || op->answer_capacity > SGM_XEN_MAX_REPLY || d == current->domain)
        return -EINVAL;
    if ((rc = copy_in(call_buffer, op->batch, op->batch_size)) != 0) return rc;
    get_knownalive_domain(d); /* given back by what it is handed to */
    op->answer_size =
        sgm_xen_serve_plain(d, call_buffer, op->batch_size, reply_buffer, op->answer_capacity);
    return op->answer_size ? copy_out(op->answer, reply_buffer, op->answer_size) : -EINVAL;
}

static int op_test_registers(const struct sgm_xen_test_registers* op) {
    if (feature != SGM_XEN_ON) return -EOPNOTSUPP;
    if (op->unsaved > 1 || op->size > 65536) return -EINVAL;
    sgm_xen_seal_for_test(call_buffer, op->size, op->unsaved);
    return 0;
}
#endif

static int run(struct sgm_xen_op* op) {
    struct domain* d = NULL;
    int rc = -EINVAL;

    if (op->version != SGM_XEN_VERSION || op->reserved) return -EINVAL;
    if (op->domid != SGM_XEN_NO_DOMAIN) {
        if (op->domid >= DOMID_FIRST_RESERVED) return -EINVAL;
        d = rcu_lock_domain_by_id(op->domid);
        if (!d) return -ESRCH;
        /* Held by a reference: work may last, and RCU is not to wait for it. */
        rc = get_domain(d) ? 0 : -ESRCH;
        rcu_unlock_domain(d);
        if (rc) return rc;
        rc = -EINVAL;
    }

    switch (op->command) {
        case SGM_XEN_CALL:
            if (!d) rc = op_call(&op->u.call);
            break;
        case SGM_XEN_PROTECT:
            if (d) rc = op_protect(d, &op->u.protect);
            break;
        case SGM_XEN_STATE: rc = op_state(d, &op->u.state); break;
        case SGM_XEN_TEST_BATCH:
        case SGM_XEN_TEST_REGISTERS: rc = -EOPNOTSUPP;
#ifdef SGM_XEN_TEST_BUILD
            if (op->command == SGM_XEN_TEST_REGISTERS)
                rc = op_test_registers(&op->u.test_registers);
            else
                rc = d ? op_test_batch(d, &op->u.test_batch) : -EINVAL;
#endif
            break;
    }
    if (d) put_domain(d);
    return rc;
}

long do_sgm_op(XEN_GUEST_HANDLE_PARAM(void) arg) {
    struct sgm_xen_op op;
    int rc;

    if (!is_control_domain(current->domain) && !is_hardware_domain(current->domain)) return -EPERM;
    if (copy_from_guest(&op, arg, 1)) return -EFAULT;
    if (!enter()) return hypercall_create_continuation(__HYPERVISOR_sgm_op, "h", arg);
    rc = run(&op);
    leave();

    if (rc == -ERESTART) return hypercall_create_continuation(__HYPERVISOR_sgm_op, "h", arg);
    if (!rc && copy_to_guest(arg, &op, 1)) rc = -EFAULT;
    return rc;
}

/* --- Boot --- */

static int __init hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @size bytes; dashes are skipped. Returns what follows, NULL when it is not hexadecimal. */
static const char* __init parse_hex(const char* text, uint8_t* out, unsigned int size) {
    unsigned int i;

    for (i = 0; i < size; i++) {
        int high, low;

        while (*text == '-')
            text++;
        high = hex_digit(text[0]);
        low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0) return NULL;
        out[i] = high << 4 | low;
        text += 2;
    }
    return text;
}

static void __init parse_listed(void) {
    const char* text = opt_protect;

    while (*text && listed_count < MAX_LISTED) {
        text = parse_hex(text, listed[listed_count], sizeof(listed[0]));
        if (!text || (*text && *text != ',')) {
            /* Better no domain than one that is not what its owner was told. */
            panic("sgm_protect= on Xen's command line is not a list of uuids\n");
        }
        listed_count++;
        if (*text == ',') text++;
    }
    if (*text) panic("sgm_protect= on Xen's command line names more than %d uuids\n", MAX_LISTED);
}

static void __init print_hex(const char* what, const uint8_t* bytes) {
    char text[65];
    unsigned int i;

    for (i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    printk("SGmonitor: %s %s\n", what, text);
}

static const char* __init why_off(enum sgm_xen_feature why) {
    switch (why) {
        case SGM_XEN_NO_AUTHORITY:
            return "sgm_authority= is not on Xen's command line, or not 64 hexadecimal digits";
        case SGM_XEN_NO_AES: return "this CPU has no AES-NI, PCLMULQDQ or SSSE3";
        case SGM_XEN_NO_RANDOMNESS: return "this CPU has neither RDSEED nor RDRAND, or they fail";
        case SGM_XEN_SELF_TEST_FAILED: return "its cryptography does not give the known answers";
        case SGM_XEN_ON: break;
    }
    return "no memory";
}

static int __init sgm_init(void) {
    uint8_t authority[32];
    struct sgm_xen_keys keys;
    const char* rest = parse_hex(opt_authority, authority, sizeof(authority));
    void* memory = vzalloc(sgm_xen_memory_size());

    parse_listed();
    records = vzalloc(DOMID_FIRST_RESERVED * sizeof(*records));
    call_buffer = vzalloc(SGM_XEN_MAX_CALL);
    reply_buffer = vzalloc(SGM_XEN_MAX_REPLY);
    if (!memory || !records || !call_buffer || !reply_buffer) {
        printk(XENLOG_ERR "SGmonitor: off: no memory\n");
        return 0;
    }
    feature = sgm_xen_start(memory, rest && !*rest ? authority : NULL, opt_allow_software, &keys);
    if (feature != SGM_XEN_ON) {
        printk(XENLOG_ERR "SGmonitor: off: %s\n", why_off(feature));
        return 0;
    }
    print_hex("hypervisor key", keys.public_key);
    print_hex("hypervisor key id", keys.key_id);
    print_hex("authority", authority);
#ifdef SGM_XEN_TEST_BUILD
    printk(XENLOG_WARNING "SGmonitor: this is a test build, which gives dom0 what is not sealed\n");
#endif
    return 0;
}
__initcall(sgm_init);
