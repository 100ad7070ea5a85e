/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Xen's own files call of SGmonitor; becomes asm/sgm.h. apply.py puts the calls into
 * xsm/dummy.h, through which every privileged operation on a domain has to pass.
 */
#ifndef ASM_X86_SGM_H
#define ASM_X86_SGM_H

#ifdef CONFIG_XSM
#error "Protected domains rely on the checks of xsm/dummy.h: build without XSM"
#endif

#include <asm/current.h>
#include <xen/bitops.h>
#include <xen/sched.h>

extern unsigned long sgm_protected_domains[];
void sgm_count_refusal(const struct domain* by, const struct domain* of);

static inline bool sgm_is_protected(const struct domain* d) {
    return d && d->domain_id < DOMID_FIRST_RESERVED &&
           test_bit(d->domain_id, sgm_protected_domains);
}

/* Whether @src, however privileged, may not do to @target what needs privilege. */
static inline bool sgm_refuses(const struct domain* src, const struct domain* target) {
    if (likely(src == target) || likely(!sgm_is_protected(target))) return false;
    sgm_count_refusal(src, target);
    return true;
}

/* Whether sgm_domctl() has the word on @cmd: 0, or -EPERM. */
bool sgm_decides_domctl(struct domain* d, unsigned int cmd);
int sgm_domctl(const struct domain* d, unsigned int cmd);
bool sgm_protects_any(void);
bool sgm_refuses_key(unsigned char key);
/* Whether there is RAM among these frames, both included. */
bool sgm_is_ram(uint64_t first_mfn, uint64_t last_mfn);
void sgm_domain_created(const struct domain* d);

/* Whether what a vCPU was just doing must not be shown. @guest: it is the guest's state. */
static inline bool sgm_hides(bool guest) {
    return guest && sgm_is_protected(current->domain);
}

#endif
