/* SPDX-License-Identifier: Apache-2.0 */
/* The port's x86-64 part: processor state as Intel SDM vol. 3 names it, and CPUID. */
#ifndef KILN_HV_X86_H
#define KILN_HV_X86_H

#include "hv.h"

enum kiln__hv_x86_gpr { /* the encoding order of Intel SDM vol. 2, 2.1.5 */
			KILN__X86_RAX,
			KILN__X86_RCX,
			KILN__X86_RDX,
			KILN__X86_RBX,
			KILN__X86_RSP,
			KILN__X86_RBP,
			KILN__X86_RSI,
			KILN__X86_RDI,
			KILN__X86_R8, /* to R15 */
			KILN__X86_GPRS = 16,
};

/* Access rights in bits as in a descriptor's second half shifted right by 8 (SDM vol. 3, 3.4.5). */
struct kiln__hv_x86_segment {
	uint64_t base;
	uint32_t limit; /* in bytes */
	uint16_t selector;
	uint16_t rights;
};

#define KILN__X86_RIGHTS_CODE64 0xa09b /* G, L, present, code, readable, accessed */
#define KILN__X86_RIGHTS_CODE32 0xc09b /* G, D, present, code, readable, accessed */
#define KILN__X86_RIGHTS_DATA   0xc093 /* G, B, present, data, writable, accessed */
#define KILN__X86_RIGHTS_TSS    0x008b /* present, busy TSS */
#define KILN__X86_RIGHTS_NONE   0x0000 /* not usable */

struct kiln__hv_x86_table {
	uint64_t base;
	uint16_t limit;
};

struct kiln__hv_x86_state {
	uint64_t gpr[KILN__X86_GPRS];
	uint64_t rip;
	uint64_t rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer;
	struct kiln__hv_x86_segment cs, ds, es, fs, gs, ss, tr, ldt;
	struct kiln__hv_x86_table gdt, idt;
};

#define KILN__X86_CR0_PE 0x00000001u
#define KILN__X86_CR0_MP 0x00000002u
#define KILN__X86_CR0_ET 0x00000010u
#define KILN__X86_CR0_NE 0x00000020u
#define KILN__X86_CR0_WP 0x00010000u
#define KILN__X86_CR0_PG 0x80000000u

#define KILN__X86_CR4_PAE        0x00000020u
#define KILN__X86_CR4_OSFXSR     0x00000200u
#define KILN__X86_CR4_OSXMMEXCPT 0x00000400u
#define KILN__X86_CR4_OSXSAVE    0x00040000u

#define KILN__X86_EFER_LME 0x00000100u
#define KILN__X86_EFER_LMA 0x00000400u

#define KILN__X86_RFLAGS_FIXED 0x2u /* bit 1 is always set */

/* On the vCPU's thread, between runs. Pending events and what is not in the struct stay as they
 * are. */
int kiln__hv_x86_get_state(struct kiln__hv_vcpu *vcpu, struct kiln__hv_x86_state *ret,
			   kiln_error *err);
int kiln__hv_x86_set_state(struct kiln__hv_vcpu *vcpu, const struct kiln__hv_x86_state *state,
			   kiln_error *err);

/* Which extended state is enabled (SDM vol. 1, 13.3). After the CPUID is set; needs XSAVE there. */
int kiln__hv_x86_set_xcr0(struct kiln__hv_vcpu *vcpu, uint64_t xcr0, kiln_error *err);

struct kiln__hv_x86_cpuid {
	uint32_t leaf;
	uint32_t subleaf;
	bool by_subleaf; /* the leaf's answer depends on ECX */
	uint32_t eax, ebx, ecx, edx;
};

#define KILN__HV_MAX_CPUID 256

/* What this host can offer a guest, up to KILN__HV_MAX_CPUID entries. Returns their count. */
int kiln__hv_x86_host_cpuid(const struct kiln__hv *hv, struct kiln__hv_x86_cpuid *entries,
			    kiln_error *err);

/* What this guest is told. Before the vCPU's first run. */
int kiln__hv_x86_set_cpuid(struct kiln__hv_vcpu *vcpu, const struct kiln__hv_x86_cpuid *entries,
			   size_t count, kiln_error *err);

#endif
