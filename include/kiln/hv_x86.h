/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port's x86-64 part: processor state as Intel SDM vol. 3 names it, and CPUID.
 *
 * Nothing may be mapped at guest-physical 0xfffbc000 to 0xfffbffff: some processors need it to run
 * real mode. Everything that takes a vCPU is called on its thread, between runs.
 */
#ifndef KILN_HV_X86_H
#define KILN_HV_X86_H

#include <kiln/hv.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kiln_hv_x86_gpr { /* the encoding order of Intel SDM vol. 2, 2.1.5 */
		       KILN_X86_RAX,
		       KILN_X86_RCX,
		       KILN_X86_RDX,
		       KILN_X86_RBX,
		       KILN_X86_RSP,
		       KILN_X86_RBP,
		       KILN_X86_RSI,
		       KILN_X86_RDI,
		       KILN_X86_R8, /* to R15 */
		       KILN_X86_GPRS = 16,
};

/* Access rights in bits as in a descriptor's second half shifted right by 8 (SDM vol. 3, 3.4.5). */
typedef struct kiln_hv_x86_segment {
	uint64_t base;
	uint32_t limit; /* in bytes */
	uint16_t selector;
	uint16_t rights;
} kiln_hv_x86_segment;

#define KILN_X86_RIGHTS_CODE64 0xa09b /* G, L, present, code, readable, accessed */
#define KILN_X86_RIGHTS_CODE32 0xc09b /* G, D, present, code, readable, accessed */
#define KILN_X86_RIGHTS_DATA   0xc093 /* G, B, present, data, writable, accessed */
#define KILN_X86_RIGHTS_TSS    0x008b /* present, busy TSS */
#define KILN_X86_RIGHTS_NONE   0x0000 /* not usable */

typedef struct kiln_hv_x86_table {
	uint64_t base;
	uint16_t limit;
} kiln_hv_x86_table;

typedef struct kiln_hv_x86_state {
	uint64_t gpr[KILN_X86_GPRS];
	uint64_t rip;
	uint64_t rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer;
	kiln_hv_x86_segment cs, ds, es, fs, gs, ss, tr, ldt;
	kiln_hv_x86_table gdt, idt;
} kiln_hv_x86_state;

#define KILN_X86_CR0_PE 0x00000001u
#define KILN_X86_CR0_MP 0x00000002u
#define KILN_X86_CR0_ET 0x00000010u
#define KILN_X86_CR0_NE 0x00000020u
#define KILN_X86_CR0_WP 0x00010000u
#define KILN_X86_CR0_PG 0x80000000u

#define KILN_X86_CR4_PAE        0x00000020u
#define KILN_X86_CR4_OSFXSR     0x00000200u
#define KILN_X86_CR4_OSXMMEXCPT 0x00000400u
#define KILN_X86_CR4_OSXSAVE    0x00040000u

#define KILN_X86_EFER_LME 0x00000100u
#define KILN_X86_EFER_LMA 0x00000400u

#define KILN_X86_RFLAGS_FIXED 0x2u /* bit 1 is always set */

/*
 * Pending events and what is not in the struct stay as they are. After a PORT or MMIO exit the
 * state read is that before or within the instruction; setting completes that one first (and fails
 * with KILN_ESTATE as kiln_hv_vcpu_save() does). KILN_EINVAL if no processor could be in this
 * state: in 64-bit mode CR4.PAE, EFER.LME and EFER.LMA are all set, TR is a busy TSS.
 */
KILN_PUBLIC int kiln_hv_x86_get_state(kiln_hv_vcpu *vcpu, kiln_hv_x86_state *ret, kiln_error *err);
KILN_PUBLIC int kiln_hv_x86_set_state(kiln_hv_vcpu *vcpu, const kiln_hv_x86_state *state,
				      kiln_error *err);

/* Which extended state is enabled (SDM vol. 1, 13.3). After the CPUID is set; needs XSAVE there. */
KILN_PUBLIC int kiln_hv_x86_set_xcr0(kiln_hv_vcpu *vcpu, uint64_t xcr0, kiln_error *err);

typedef struct kiln_hv_x86_cpuid {
	uint32_t leaf;
	uint32_t subleaf;
	bool by_subleaf; /* the leaf's answer depends on ECX */
	uint32_t eax, ebx, ecx, edx;
} kiln_hv_x86_cpuid;

#define KILN_HV_MAX_CPUID 256

/* What this host can offer a guest. @entries has room for KILN_HV_MAX_CPUID. Returns their count.
 */
KILN_PUBLIC int kiln_hv_x86_host_cpuid(const kiln_hv *hv, kiln_hv_x86_cpuid *entries,
				       kiln_error *err);

/* What this guest is told, at most KILN_HV_MAX_CPUID entries. Before the vCPU's first run. */
KILN_PUBLIC int kiln_hv_x86_set_cpuid(kiln_hv_vcpu *vcpu, const kiln_hv_x86_cpuid *entries,
				      size_t count, kiln_error *err);

/* Model-specific registers (SDM vol. 4). */
typedef struct kiln_hv_x86_msr {
	uint32_t index;
	uint64_t value;
} kiln_hv_x86_msr;

#define KILN_HV_MAX_MSRS 64 /* of one call; more: KILN_EOVERFLOW */

/*
 * Reads into the values of @msrs, or sets them, in their order. KILN_EINVAL names the first one
 * that this hypervisor does not have or take; those before it are set then, but none is read.
 */
KILN_PUBLIC int kiln_hv_x86_get_msrs(kiln_hv_vcpu *vcpu, kiln_hv_x86_msr *msrs, size_t count,
				     kiln_error *err);
KILN_PUBLIC int kiln_hv_x86_set_msrs(kiln_hv_vcpu *vcpu, const kiln_hv_x86_msr *msrs, size_t count,
				     kiln_error *err);

/* x87 and SSE state as FXSAVE lays it out in 64-bit mode (SDM vol. 1, 10.5.1). */
#define KILN_HV_X86_FPU_SIZE 512
KILN_PUBLIC int kiln_hv_x86_get_fpu(kiln_hv_vcpu *vcpu, uint8_t ret[KILN_HV_X86_FPU_SIZE],
				    kiln_error *err);
KILN_PUBLIC int kiln_hv_x86_set_fpu(kiln_hv_vcpu *vcpu, const uint8_t fpu[KILN_HV_X86_FPU_SIZE],
				    kiln_error *err);

/*
 * What is pending between two instructions (SDM vol. 3, 6.9). What the hypervisor keeps beside
 * these stays as it is when they are set. An exception's vector is below 32 and not 2
 * (KILN_EINVAL).
 */
typedef struct kiln_hv_x86_events {
	bool exception; /* is to be delivered: vector, and an error code if it has one */
	bool has_error;
	uint8_t vector;
	uint32_t error;
	bool interrupt; /* an external one is being delivered: interrupt_vector */
	uint8_t interrupt_vector;
	bool shadow; /* the next instruction is not interrupted (STI, MOV SS) */
	bool nmi_pending;
	bool nmi_masked; /* one is being handled */
} kiln_hv_x86_events;

KILN_PUBLIC int kiln_hv_x86_get_events(kiln_hv_vcpu *vcpu, kiln_hv_x86_events *ret,
				       kiln_error *err);
KILN_PUBLIC int kiln_hv_x86_set_events(kiln_hv_vcpu *vcpu, const kiln_hv_x86_events *events,
				       kiln_error *err);

/*
 * Delivers an external interrupt at the next run, in a VM with KILN_HV_IRQCHIP_NONE (else
 * KILN_ENOTSUP). KILN_EBUSY if the guest takes none now: then a run ends as KICKED as soon as it
 * does.
 */
KILN_PUBLIC int kiln_hv_x86_interrupt(kiln_hv_vcpu *vcpu, uint8_t vector, kiln_error *err);

/* How fast the guest's time stamp counter counts; KILN_ENOTSUP if the hypervisor does not know. */
KILN_PUBLIC int kiln_hv_x86_tsc_khz(kiln_hv_vcpu *vcpu, uint32_t *ret, kiln_error *err);

#ifdef __cplusplus
}
#endif
#endif
