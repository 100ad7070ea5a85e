// SPDX-License-Identifier: MIT
// Every way into a domain that dom0 has: tried before the domain is protected, when Xen lets it
// through, and after, when it must not. Xen 4.17: common/domctl.c, arch/x86/domctl.c,
// common/memory.c, arch/x86/mm.c, arch/x86/hvm/{hvm,dm}.c, common/grant_table.c, common/sysctl.c.
//
//   paths DOMID    protects the domain; it stays paused meanwhile, and goes on afterwards
//
// Prints a line for each way and exits with 1 when one of them is open. SKIP: this Xen, CPU or
// kind of domain has no such thing, before as after; nothing was tried.
#include "privcmd.h"

// RAM of any Linux guest: where its kernel lies.
#define PVH_GFN 0x1000ul
// Above the RAM of a small guest and below its devices.
#define HOLE_GFN 0xf0000ul
// RAM of the machine, whoever has it.
#define RAM_MFN 0x8000ul
#define BOGUS 0xfffffffful
#define NOT_HERE (-(long)ENOSYS)

static domid_t target;
static bool is_pv;
static uint64_t some_gfn;
static uint64_t free_gfn;  // of a page of zeros; PVH only
static xen_domain_handle_t handle;
static bool is_after;

static void* scratch;  // for what a hypercall points at
#define SCRATCH_SIZE (256 * PAGE)

// ---------------------------------------------------------------------------------------------
// domctl

static struct xen_domctl* domctl_for(uint32_t command) {
    static struct xen_domctl* op;
    if (op == NULL) op = hypercall_buffer(sizeof(*op));
    memset(op, 0, sizeof(*op));
    memset(scratch, 0, SCRATCH_SIZE);
    op->cmd = command;
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = target;
    return op;
}

static long domctl(struct xen_domctl* op) {
    return hypercall(__HYPERVISOR_domctl, address_of(op), 0, 0, 0);
}

static long plain_domctl(uint32_t command) {
    return domctl(domctl_for(command));
}

static long get_vcpu_context(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_getvcpucontext);
    set_xen_guest_handle(op->u.vcpucontext.ctxt, scratch);
    return domctl(op);
}

// To a vCPU that does not exist, so that a living guest survives it.
static long set_vcpu_context(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_setvcpucontext);
    op->u.vcpucontext.vcpu = 1000;
    set_xen_guest_handle(op->u.vcpucontext.ctxt, scratch);
    return domctl(op);
}

static long get_hvm_context(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_gethvmcontext);
    op->u.hvmcontext.size = SCRATCH_SIZE;
    set_xen_guest_handle(op->u.hvmcontext.buffer, scratch);
    return domctl(op);
}

static long get_hvm_context_partial(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_gethvmcontext_partial);
    op->u.hvmcontext_partial.type = HVM_SAVE_CODE(CPU);
    op->u.hvmcontext_partial.bufsz = SCRATCH_SIZE;
    set_xen_guest_handle(op->u.hvmcontext_partial.buffer, scratch);
    return domctl(op);
}

static long set_hvm_context(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_sethvmcontext);
    op->u.hvmcontext.size = 8;
    set_xen_guest_handle(op->u.hvmcontext.buffer, scratch);
    return domctl(op);
}

static long get_ext_vcpu_context(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_get_ext_vcpucontext);
    op->u.ext_vcpucontext.size = sizeof(op->u.ext_vcpucontext);
    return domctl(op);
}

static long set_ext_vcpu_context(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_set_ext_vcpucontext);
    op->u.ext_vcpucontext.vcpu = 1000;
    return domctl(op);
}

static long get_vcpu_extended_state(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_getvcpuextstate);
    set_xen_guest_handle(op->u.vcpuextstate.buffer, scratch);
    op->u.vcpuextstate.size = SCRATCH_SIZE;
    return domctl(op);
}

static long set_vcpu_extended_state(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_setvcpuextstate);
    op->u.vcpuextstate.vcpu = 1000;
    return domctl(op);
}

static long get_vcpu_msrs(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_get_vcpu_msrs);
    set_xen_guest_handle(op->u.vcpu_msrs.msrs, scratch);
    op->u.vcpu_msrs.msr_count = 100;
    return domctl(op);
}

static long set_vcpu_msrs(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_set_vcpu_msrs);
    op->u.vcpu_msrs.vcpu = 1000;
    return domctl(op);
}

static long shadow_op(uint32_t command) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_shadow_op);
    op->u.shadow_op.op = command;
    return domctl(op);
}

static long log_dirty(void) {
    const long result = shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY);
    if (result == 0) shadow_op(XEN_DOMCTL_SHADOW_OP_OFF);
    return result;
}

static long get_page_frame_info(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_getpageframeinfo3);
    *(uint64_t*)scratch = some_gfn;
    op->u.getpageframeinfo3.num = 1;
    set_xen_guest_handle(op->u.getpageframeinfo3.array, scratch);
    return domctl(op);
}

static long write_hypercall_page(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_hypercall_init);
    op->u.hypercall_init.gmfn = BOGUS;
    return domctl(op);
}

static long monitor_events(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_monitor_op);
    op->u.monitor_op.op = XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES;
    return domctl(op);
}

static long vm_event(uint32_t command) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_vm_event_op);
    op->u.vm_event_op.op = command;
    op->u.vm_event_op.mode = XEN_DOMCTL_VM_EVENT_OP_MONITOR;
    return domctl(op);
}

// Not for PV: Xen 4.17 follows a null pointer then (vm_event_domctl) and takes the machine down.
static long event_ring(void) {
    const long result = vm_event(XEN_VM_EVENT_ENABLE);
    if (result == 0) vm_event(XEN_VM_EVENT_DISABLE);
    return result;
}

static long guest_memory_by_gdbsx(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_gdbsx_guestmemio);
    op->u.gdbsx_guest_memio.gva = 0xffffffff81000000ul;
    op->u.gdbsx_guest_memio.uva = address_of(scratch);
    op->u.gdbsx_guest_memio.len = 64;
    return domctl(op);
}

static long single_step(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_debug_op);
    op->u.debug_op.op = XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF;
    return domctl(op);
}

static long attach_debugger(void) {
    return plain_domctl(XEN_DOMCTL_setdebugging);  // off
}

static long trace_by_processor(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_vmtrace_op);
    op->u.vmtrace_op.cmd = XEN_DOMCTL_vmtrace_enable;
    return domctl(op);
}

static long audit_p2m(void) {
    return plain_domctl(XEN_DOMCTL_audit_p2m);
}

static long share_memory(void) {
    return plain_domctl(XEN_DOMCTL_mem_sharing_op);
}

// A device that is not there.
static long assign_device(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_assign_device);
    op->u.assign_device.dev = XEN_DOMCTL_DEV_PCI;
    op->u.assign_device.u.pci.machine_sbdf = 0xfff8;
    return domctl(op);
}

static long allow_device_memory(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_iomem_permission);
    op->u.iomem_permission.first_mfn = RAM_MFN;
    op->u.iomem_permission.nr_mfns = 1;
    op->u.iomem_permission.allow_access = 1;
    return domctl(op);
}

// The same uuid as before; another would take the sessions with it.
static long set_uuid(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_setdomainhandle);
    memcpy(op->u.setdomainhandle.handle, handle, sizeof(handle));
    return domctl(op);
}

static long soft_reset(void) {
    return is_after ? plain_domctl(XEN_DOMCTL_soft_reset) : NOT_HERE;  // ends the guest
}

// A stub domain over the target, or the target over dom0: neither exists here.
static long make_it_a_stub_domain(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_set_target);
    op->u.set_target.target = 0x7abc;
    return domctl(op);
}

// ---------------------------------------------------------------------------------------------
// Memory

// Maps one page and reads it. 0, or a negative errno.
static long map_foreign(uint64_t gfn, void** kept) {
    void* const page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, privcmd, 0);
    if (page == MAP_FAILED) return -(long)errno;
    const xen_pfn_t frame = gfn;
    int error = 0;
    privcmd_mmapbatch_v2_t batch = {
        .num = 1, .dom = target, .addr = address_of(page), .arr = &frame, .err = &error};
    long result = ioctl(privcmd, IOCTL_PRIVCMD_MMAPBATCH_V2, &batch) < 0 ? -(long)errno : 0;
    if (error != 0) result = error;
    if (result == 0) {
        volatile const uint64_t* const word = page;
        (void)*word;
    }
    if (result == 0 && kept != NULL) {
        *kept = page;
    } else {
        munmap(page, PAGE);
    }
    return result;
}

static long foreign_map(void) {
    const long result = map_foreign(some_gfn, NULL);
    // The kernel answers with an errno of its own when Xen refuses page by page.
    return is_after && result < 0 ? -(long)EPERM : result;
}

static long map_resource(uint32_t type) {
    void* const page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, privcmd, 0);
    if (page == MAP_FAILED) return -(long)errno;
    privcmd_mmap_resource_t resource = {
        .dom = target, .type = type, .id = 0, .idx = 0, .num = 1, .addr = address_of(page)};
    const long result =
        ioctl(privcmd, IOCTL_PRIVCMD_MMAP_RESOURCE, &resource) < 0 ? -(long)errno : 0;
    munmap(page, PAGE);
    return result;
}

static long map_grant_table(void) {
    return map_resource(XENMEM_resource_grant_table);
}
static long map_ioreq_pages(void) {
    return map_resource(XENMEM_resource_ioreq_server);
}
static long map_trace_buffer(void) {
    return map_resource(XENMEM_resource_vmtrace_buf);
}

static long memory_op(uint64_t command, const void* argument) {
    return hypercall(__HYPERVISOR_memory_op, command, address_of(argument), 0, 0);
}

static void* cleared_scratch(void) {
    memset(scratch, 0, SCRATCH_SIZE);
    return scratch;
}

// How many pages were given or taken: Xen says "none" where others say -EPERM.
static long change_reservation(uint64_t command, uint64_t gfn) {
    struct xen_memory_reservation* const reservation = cleared_scratch();
    xen_pfn_t* const frame = (xen_pfn_t*)((char*)scratch + PAGE);
    *frame = gfn;
    set_xen_guest_handle(reservation->extent_start, frame);
    reservation->nr_extents = 1;
    reservation->domid = target;
    const long result = memory_op(command, reservation);
    return result == 0 ? -(long)EPERM : result;
}

// Xen does not clear a page that is taken away from a living domain.
static long take_a_page_away(void) {
    if (free_gfn == 0) return is_after ? -(long)EPERM : NOT_HERE;
    const long result = change_reservation(XENMEM_decrease_reservation, free_gfn);
    if (result == 1) change_reservation(XENMEM_populate_physmap, free_gfn);
    return result;
}

static long exchange_a_page(void) {
    struct xen_memory_exchange* const exchange = cleared_scratch();
    xen_pfn_t* const frames = (xen_pfn_t*)((char*)scratch + PAGE);
    frames[0] = BOGUS;
    set_xen_guest_handle(exchange->in.extent_start, &frames[0]);
    set_xen_guest_handle(exchange->out.extent_start, &frames[1]);
    exchange->in.nr_extents = exchange->out.nr_extents = 1;
    exchange->in.domid = exchange->out.domid = target;
    return memory_op(XENMEM_exchange, exchange);
}

static long move_a_page_in_it(void) {
    struct xen_add_to_physmap* const add = cleared_scratch();
    add->domid = target;
    add->space = XENMAPSPACE_gmfn;
    add->idx = BOGUS;
    add->gpfn = HOLE_GFN;
    return memory_op(XENMEM_add_to_physmap, add);
}

static long unmap_a_page_of_it(void) {
    struct xen_remove_from_physmap* const removal = cleared_scratch();
    removal->domid = target;
    removal->gpfn = BOGUS;
    return memory_op(XENMEM_remove_from_physmap, removal);
}

static long page_access(void) {
    struct xen_mem_access_op* const access = cleared_scratch();
    access->op = XENMEM_access_op_get_access;
    access->domid = target;
    access->pfn = some_gfn;
    return memory_op(XENMEM_access_op, access);
}

static long page_out(void) {
    struct xen_mem_paging_op* const paging = cleared_scratch();
    paging->op = XENMEM_paging_op_nominate;
    paging->domain = target;
    paging->gfn = some_gfn;
    return memory_op(XENMEM_paging_op, paging);
}

// RAM as if it were a device: dom0 may hand out every frame that is not Xen's own. A domain that is
// not protected would serve as well, so this must never work, for any domain.
static long map_ram_as_a_device(void) {
    if (is_pv) return -(long)EPERM;  // has no such map
    if (allow_device_memory() != 0) return -(long)EPERM;
    struct xen_domctl* op = domctl_for(XEN_DOMCTL_memory_mapping);
    op->u.memory_mapping.first_gfn = HOLE_GFN;
    op->u.memory_mapping.first_mfn = RAM_MFN;
    op->u.memory_mapping.nr_mfns = 1;
    op->u.memory_mapping.add_mapping = 1;
    const long result = domctl(op);
    if (result == 0) {
        op->u.memory_mapping.add_mapping = 0;
        domctl(op);
    }
    op = domctl_for(XEN_DOMCTL_iomem_permission);
    op->u.iomem_permission.first_mfn = RAM_MFN;
    op->u.iomem_permission.nr_mfns = 1;
    domctl(op);
    return result;
}

// ---------------------------------------------------------------------------------------------
// Page tables of PV. From PVH there is no such call.

static long mmuext_op(uint32_t command) {
    struct mmuext_op* const op = cleared_scratch();
    op->cmd = command;
    op->arg1.mfn = some_gfn;
    op->arg2.src_mfn = some_gfn;
    return hypercall(__HYPERVISOR_mmuext_op, address_of(op), 1, 0, target);
}

// From a secret page to one that was granted: here from a page to itself.
static long copy_a_page_inside(void) {
    return mmuext_op(MMUEXT_COPY_PAGE);
}

static long pin_a_page_table(void) {
    struct mmuext_op* const op = cleared_scratch();
    op->cmd = MMUEXT_UNPIN_TABLE;
    op->arg1.mfn = BOGUS;
    return hypercall(__HYPERVISOR_mmuext_op, address_of(op), 1, 0, target);
}

static long update_mapping_of_another(void) {
    char* const page =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (page == MAP_FAILED) return -(long)errno;
    // The page is not given back: the kernel does not know what becomes of its entry.
    return hypercall(__HYPERVISOR_update_va_mapping_otherdomain, address_of(page), 0, UVMF_INVLPG,
                     target);
}

static long update_page_table(void) {
    struct mmu_update* const update = cleared_scratch();
    update->ptr = (BOGUS << 12) | MMU_NORMAL_PT_UPDATE;
    return hypercall(__HYPERVISOR_mmu_update, address_of(update), 1, 0,
                     target | ((uint64_t)(target + 1) << 16));
}

// ---------------------------------------------------------------------------------------------
// Grants, events, devices

static long grant_status(int16_t status) {
    return status == GNTST_permission_denied ? -(long)EPERM : status == GNTST_okay ? 0 : -(long)EIO;
}

static long set_up_its_grant_table(void) {
    struct gnttab_setup_table* const setup = cleared_scratch();
    setup->dom = target;
    setup->nr_frames = 1;
    set_xen_guest_handle(setup->frame_list, (xen_pfn_t*)((char*)scratch + PAGE));
    const long result =
        hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, address_of(setup), 1, 0);
    return result != 0 ? result : grant_status(setup->status);
}

static long copy_without_a_grant(void) {
    struct gnttab_copy* const copy = cleared_scratch();
    copy->source.domid = target;
    copy->source.u.gmfn = some_gfn;
    copy->dest.domid = DOMID_SELF;
    copy->dest.u.gmfn = BOGUS;
    copy->len = 64;
    const long result =
        hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, address_of(copy), 1, 0);
    return result != 0 ? result : grant_status(copy->status);
}

// Reserved for no one: the guest has granted nothing under this number.
static long map_what_is_not_granted(void) {
    struct gnttab_map_grant_ref* const map = cleared_scratch();
    map->dom = target;
    map->ref = 500;
    map->flags = GNTMAP_device_map | GNTMAP_readonly;
    const long result =
        hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, address_of(map), 1, 0);
    return result != 0 ? result : map->status == GNTST_okay ? 0 : -(long)EPERM;
}

static long event_channel_status(void) {
    struct evtchn_status* const status = cleared_scratch();
    status->dom = target;
    status->port = 1;
    return hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, address_of(status), 0, 0);
}

static long hvm_parameter(void) {
    struct xen_hvm_param* const parameter = cleared_scratch();
    parameter->domid = target;
    parameter->index = HVM_PARAM_CALLBACK_IRQ;
    return hypercall(__HYPERVISOR_hvm_op, HVMOP_get_param, address_of(parameter), 0, 0);
}

static long device_model(struct xen_dm_op* op) {
    xen_dm_op_buf_t* const buffer = (xen_dm_op_buf_t*)((char*)scratch + PAGE);
    set_xen_guest_handle(buffer->h, (void*)op);
    buffer->size = sizeof(*op);
    return hypercall(__HYPERVISOR_dm_op, target, 1, address_of(buffer), 0);
}

// A device model sees what the guest writes to devices, and to RAM that is declared one.
static long become_a_device_model(void) {
    struct xen_dm_op* op = cleared_scratch();
    op->op = XEN_DMOP_create_ioreq_server;
    const long result = device_model(op);
    if (result != 0) return result;
    const ioservid_t id = op->u.create_ioreq_server.id;
    op = cleared_scratch();
    op->op = XEN_DMOP_destroy_ioreq_server;
    op->u.destroy_ioreq_server.id = id;
    device_model(op);
    return 0;
}

// ---------------------------------------------------------------------------------------------
// The whole machine

static struct xen_sysctl* sysctl_for(uint32_t command) {
    static struct xen_sysctl* op;
    if (op == NULL) op = hypercall_buffer(sizeof(*op));
    memset(op, 0, sizeof(*op));
    op->cmd = command;
    op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    return op;
}

static long sysctl(struct xen_sysctl* op) {
    return hypercall(__HYPERVISOR_sysctl, address_of(op), 0, 0, 0);
}

// The text that Xen has printed since position *from; moves *from to its end.
static const char* console_text(uint32_t* from) {
    char* const text = cleared_scratch();
    struct xen_sysctl* const op = sysctl_for(XEN_SYSCTL_readconsole);
    op->u.readconsole.incremental = 1;
    op->u.readconsole.index = *from;
    op->u.readconsole.count = SCRATCH_SIZE - 1;
    set_xen_guest_handle(op->u.readconsole.buffer, text);
    if (sysctl(op) != 0) return "";
    *from = op->u.readconsole.index;
    text[op->u.readconsole.count] = '\0';
    return text;
}

// `xl debug-keys` prints registers, and 'd' a PV guest's stack, on Xen's console: `xl dmesg`.
static long press_debug_key(char key, const char* prints) {
    uint32_t position = 0;
    for (uint32_t before = 1; before != position;) {
        before = position;
        console_text(&position);
    }
    struct xen_sysctl* const op = sysctl_for(XEN_SYSCTL_debug_keys);
    *(char*)cleared_scratch() = key;
    set_xen_guest_handle(op->u.debug_keys.keys, scratch);
    op->u.debug_keys.nr_keys = 1;
    const long result = sysctl(op);
    if (result != 0) return result;
    return strstr(console_text(&position), prints) != NULL ? 0 : -(long)EPERM;
}

static long dump_domains(void) {
    return press_debug_key('q', "General information for domain");
}
static long dump_registers(void) {
    return press_debug_key('d', "Dumping CPU");
}
static long dump_virtual_processors(void) {
    const long result = press_debug_key('v', is_pv ? "VMC" : "Domain");
    return !is_after && result != 0 ? NOT_HERE : result;  // without VT-x and AMD-V there is no 'v'
}

static long kexec(void) {
    xen_kexec_range_t* const range = cleared_scratch();
    range->range = KEXEC_RANGE_MA_CRASH;
    return hypercall(__HYPERVISOR_kexec_op, KEXEC_CMD_kexec_get_range, address_of(range), 0, 0);
}

static long livepatch(void) {
    struct xen_sysctl* const op = sysctl_for(XEN_SYSCTL_livepatch_op);
    op->u.livepatch.cmd = XEN_SYSCTL_LIVEPATCH_LIST;
    return sysctl(op);
}

static long profile(void) {
    struct xenoprof_init* const init = cleared_scratch();
    return hypercall(__HYPERVISOR_xenoprof_op, XENOPROF_init, address_of(init), 0, 0);
}

static long sample_by_performance_counters(void) {
    struct xen_pmu_params* const parameters = cleared_scratch();
    parameters->val = XENPMU_MODE_ALL;
    return hypercall(__HYPERVISOR_xenpmu_op, XENPMU_mode_set, address_of(parameters), 0, 0);
}

// ---------------------------------------------------------------------------------------------

enum kind {
    // Open before: what this program proves itself by. Refused after.
    MUST_BE_OPEN = 1,
    // Asked only of the domains that have it.
    PV_ONLY = 2,
    PVH_ONLY = 4,
    // Only a PV dom0 has the call.
    FROM_PV = 8,
    // Of the machine, so refused while any domain is protected, also before this one is.
    MACHINE = 16,
};

static const struct path {
    const char* name;
    long (*try)(void);
    unsigned kind;
} kPaths[] = {
    {"getvcpucontext (registers)", get_vcpu_context, MUST_BE_OPEN},
    {"foreign mapping", foreign_map, MUST_BE_OPEN},
    {"getpageframeinfo3 (xl save)", get_page_frame_info, MUST_BE_OPEN},
    {"gethvmcontext (xl save)", get_hvm_context, MUST_BE_OPEN | PVH_ONLY},
    {"gethvmcontext_partial (registers)", get_hvm_context_partial, MUST_BE_OPEN | PVH_ONLY},
    {"get_ext_vcpucontext", get_ext_vcpu_context, MUST_BE_OPEN},
    {"getvcpuextstate (vector registers)", get_vcpu_extended_state, 0},
    {"get_vcpu_msrs", get_vcpu_msrs, MUST_BE_OPEN | PV_ONLY},
    {"setvcpucontext", set_vcpu_context, 0},
    {"sethvmcontext", set_hvm_context, PVH_ONLY},
    {"set_ext_vcpucontext", set_ext_vcpu_context, 0},
    {"setvcpuextstate", set_vcpu_extended_state, 0},
    {"set_vcpu_msrs", set_vcpu_msrs, PV_ONLY},
    {"hypercall_init (writes a page)", write_hypercall_page, 0},
    {"setdomainhandle (another uuid)", set_uuid, MUST_BE_OPEN},
    {"soft_reset", soft_reset, 0},
    {"set_target (stub domain)", make_it_a_stub_domain, 0},
    {"shadow_op: log-dirty", log_dirty, 0},
    {"acquire_resource: grant table", map_grant_table, MUST_BE_OPEN},
    {"acquire_resource: ioreq server", map_ioreq_pages, 0},
    {"acquire_resource: processor trace", map_trace_buffer, 0},
    {"decrease_reservation", take_a_page_away, 0},
    {"XENMEM_exchange", exchange_a_page, 0},
    {"add_to_physmap", move_a_page_in_it, PVH_ONLY},
    {"remove_from_physmap", unmap_a_page_of_it, 0},
    {"mem_access", page_access, 0},
    {"paging", page_out, 0},
    {"vm_event: monitor ring", event_ring, PVH_ONLY},
    {"monitor_op", monitor_events, 0},
    {"mem_sharing_op", share_memory, 0},
    {"gdbsx_guestmemio", guest_memory_by_gdbsx, 0},
    {"debug_op", single_step, 0},
    {"setdebugging", attach_debugger, MUST_BE_OPEN},
    {"vmtrace_op", trace_by_processor, 0},
    {"audit_p2m", audit_p2m, 0},
    {"assign_device", assign_device, 0},
    {"iomem_permission", allow_device_memory, MUST_BE_OPEN},
    {"mmuext_op: copy a page", copy_a_page_inside, MUST_BE_OPEN | PV_ONLY | FROM_PV},
    {"mmuext_op: page tables", pin_a_page_table, PV_ONLY | FROM_PV},
    {"mmu_update of its page tables", update_page_table, PV_ONLY | FROM_PV},
    {"update_va_mapping_otherdomain", update_mapping_of_another, MUST_BE_OPEN | FROM_PV},
    {"gnttab setup_table", set_up_its_grant_table, MUST_BE_OPEN},
    {"evtchn status", event_channel_status, 0},
    {"hvm_op: parameters", hvm_parameter, MUST_BE_OPEN | PVH_ONLY},
    {"dm_op: device model", become_a_device_model, PVH_ONLY},
    {"xenoprof", profile, MACHINE},
    {"debug key q (xl debug-keys)", dump_domains, MACHINE},
    {"debug key d: registers, stack", dump_registers, MACHINE},
    {"debug key v: virtual processors", dump_virtual_processors, PVH_ONLY | MACHINE},
};

// Refused at all times, protected or not.
static const struct path kClosed[] = {
    {"RAM mapped as device memory", map_ram_as_a_device, 0},
    {"grant copy without a grant", copy_without_a_grant, 0},
    {"grant map without a grant", map_what_is_not_granted, 0},
    {"kexec", kexec, 0},
    {"livepatch", livepatch, 0},
    {"performance counters of all", sample_by_performance_counters, 0},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool dom0_is_pv(void) {
    FILE* const file = fopen("/sys/hypervisor/guest_type", "r");
    char type[8] = "PV";
    if (file != NULL) {
        if (fscanf(file, "%7s", type) != 1) type[0] = '\0';
        fclose(file);
    }
    return strcmp(type, "PV") == 0;
}

static bool applies(const struct path* path) {
    return !((path->kind & PV_ONLY && !is_pv) || (path->kind & PVH_ONLY && is_pv) ||
             (path->kind & FROM_PV && !dom0_is_pv()));
}

// Of a PV domain, by machine address: one that is no page table.
static void find_a_frame_of_it(void) {
    enum { AT_A_TIME = 1024 };
    for (uint64_t first = 0; first < 1 << 20 && some_gfn == 0; first += AT_A_TIME) {
        struct xen_domctl* const op = domctl_for(XEN_DOMCTL_getpageframeinfo3);
        uint64_t* const frames = scratch;
        for (uint64_t i = 0; i < AT_A_TIME; ++i)
            frames[i] = first + i;
        op->u.getpageframeinfo3.num = AT_A_TIME;
        set_xen_guest_handle(op->u.getpageframeinfo3.array, scratch);
        if (domctl(op) != 0) continue;
        for (uint64_t i = 0; i < AT_A_TIME && some_gfn == 0; ++i)
            if (frames[i] == XEN_DOMCTL_PFINFO_NOTAB) some_gfn = first + i;
    }
}

static void look_at_the_domain(void) {
    struct xen_domctl* const op = domctl_for(XEN_DOMCTL_getdomaininfo);
    if (domctl(op) != 0 || op->domain != target) {
        fprintf(stderr, "there is no domain %u\n", target);
        exit(2);
    }
    is_pv = (op->u.getdomaininfo.flags & XEN_DOMINF_hvm_guest) == 0;
    memcpy(handle, op->u.getdomaininfo.handle, sizeof(handle));
    if (is_pv) {
        find_a_frame_of_it();
    } else {
        some_gfn = PVH_GFN;
        const uint64_t pages = op->u.getdomaininfo.tot_pages;
        for (uint64_t gfn = pages - 512; gfn > pages / 2 && free_gfn == 0; --gfn) {
            void* page = NULL;
            if (map_foreign(gfn, &page) != 0) continue;
            static const char zeros[PAGE];
            if (memcmp(page, zeros, PAGE) == 0) free_gfn = gfn;
            munmap(page, PAGE);
        }
    }
}

static long results_before[COUNT(kPaths)];

static void try_before(const struct path* path) {
    const long result = path->try();
    results_before[path - kPaths] = result;
    if (path->kind & MUST_BE_OPEN) {
        verdict(result >= 0, "before: %s: %s", path->name,
                result >= 0 ? "open" : strerror((int)-result));
    } else if (result == -EPERM) {
        verdict((path->kind & MACHINE) != 0, "before: %s: refused already", path->name);
    } else if (result >= 0) {
        verdict(true, "before: %s: open", path->name);
    }
    // Any other error: try_after() tells whether that is all that it ever says.
}

static void try_after(const struct path* path) {
    const long result = path->try();
    if (result < 0 && result != -EPERM && result == results_before[path - kPaths]) {
        skip(path->name, result);
        return;
    }
    verdict(result == -EPERM, "after: %s: %s", path->name,
            result == -EPERM ? "refused"
            : result >= 0    ? "OPEN"
                             : strerror((int)-result));
}

static struct sgm_xen_op* protect(void) {
    static struct sgm_xen_op* op;
    if (op == NULL) op = hypercall_buffer(sizeof(*op));
    memset(op, 0, sizeof(*op));
    op->version = SGM_XEN_VERSION;
    op->command = SGM_XEN_PROTECT;
    op->domid = target;
    const long result = sgm_op(op);
    if (result != 0) {
        verdict(false, "protect: %s", strerror((int)-result));
        exit(1);
    }
    return op;
}

// A mapping made before: told, and gone when it is unmapped.
static void protect_with_an_old_mapping(void) {
    void* page = NULL;
    const long mapped = map_foreign(some_gfn, &page);
    verdict(mapped == 0, "before: a mapping that is kept: %s",
            mapped == 0 ? "open" : strerror((int)-mapped));
    const uint32_t foreign = protect()->u.protect.foreign_mappings;
    verdict(foreign > 0, "protect: a mapping made before is told: %u", foreign);
    if (page != NULL) munmap(page, PAGE);
    const uint32_t left = protect()->u.protect.foreign_mappings;
    verdict(left + 1 == foreign && left == 0, "protect: unmapped, and none is left: %u", left);
}

// What a protected domain's owner still needs of dom0.
static void use_what_is_allowed(void) {
    const struct {
        const char* name;
        uint32_t command;
    } allowed[] = {{"pause", XEN_DOMCTL_pausedomain},
                   {"unpause", XEN_DOMCTL_unpausedomain},
                   {"getdomaininfo (xl list)", XEN_DOMCTL_getdomaininfo},
                   {"getvcpuinfo (xl vcpu-list)", XEN_DOMCTL_getvcpuinfo}};
    for (size_t i = 0; i < COUNT(allowed); ++i) {
        const long result = plain_domctl(allowed[i].command);
        verdict(result == 0, "allowed: %s: %s", allowed[i].name,
                result == 0 ? "works" : strerror((int)-result));
    }
}

int main(int count, char** arguments) {
    char* end = NULL;
    const unsigned long domid = count == 2 ? strtoul(arguments[1], &end, 10) : 0;
    if (count != 2 || *end != '\0' || domid == 0 || domid >= DOMID_FIRST_RESERVED) {
        fprintf(stderr, "usage: %s DOMID\n", arguments[0]);
        return 2;
    }
    target = (domid_t)domid;
    open_privcmd();
    scratch = hypercall_buffer(SCRATCH_SIZE);
    plain_domctl(XEN_DOMCTL_pausedomain);
    look_at_the_domain();
    for (size_t i = 0; i < COUNT(kPaths); ++i)
        if (applies(&kPaths[i])) try_before(&kPaths[i]);
    // Before, so that nothing but this keeps them shut.
    for (size_t i = 0; i < COUNT(kClosed); ++i) {
        const long result = kClosed[i].try();
        verdict(result < 0, "always: %s: %s", kClosed[i].name, result < 0 ? "refused" : "OPEN");
    }
    protect_with_an_old_mapping();
    is_after = true;
    for (size_t i = 0; i < COUNT(kPaths); ++i)
        if (applies(&kPaths[i])) try_after(&kPaths[i]);
    use_what_is_allowed();
    plain_domctl(XEN_DOMCTL_unpausedomain);
    return failures == 0 ? 0 : 1;
}
