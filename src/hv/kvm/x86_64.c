/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM port's x86-64 part: processor state and CPUID. */
#include "internal.h"
#include "x86.h"

#include "err.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/*
 * Intel processors without "unrestricted guest" run real mode in a task that
 * needs three pages of guest-physical space (api.rst, KVM_SET_TSS_ADDR) and an
 * identity map of one. The place below 4 GiB that QEMU and others use, under the
 * firmware and where no RAM is put.
 */
#define TSS_ADDRESS          0xfffbd000u
#define IDENTITY_MAP_ADDRESS 0xfffbc000u

const struct kiln__kvm_feature kiln__kvm_arch_features[] = {
	{KVM_CAP_SET_TSS_ADDR, "set-tss-addr"},
	{KVM_CAP_EXT_CPUID, "ext-cpuid"},
	{KVM_CAP_PIT2, "pit2"},
	{KVM_CAP_SIGNAL_MSI, "signal-msi"},
	{KVM_CAP_VCPU_EVENTS, "vcpu-events"},
	{KVM_CAP_XSAVE, "xsave"},
	{0, NULL},
};

unsigned long kiln__kvm_vm_type(const struct kiln__hv *hv)
{
	(void)hv;
	return 0; /* api.rst, KVM_CREATE_VM: the default kind */
}

int kiln__kvm_vm_setup(struct kiln__hv_vm *vm, kiln_error *err)
{
	uint64_t identity = IDENTITY_MAP_ADDRESS;

	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (kiln__kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_TSS_ADDR");
	return 0;
}

static void segment_to_kvm(const struct kiln__hv_x86_segment *from, struct kvm_segment *to)
{
	*to = (struct kvm_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.type = from->rights & 15,
		.s = from->rights >> 4 & 1,
		.dpl = from->rights >> 5 & 3,
		.present = from->rights >> 7 & 1,
		.avl = from->rights >> 12 & 1,
		.l = from->rights >> 13 & 1,
		.db = from->rights >> 14 & 1,
		.g = from->rights >> 15 & 1,
		.unusable = !(from->rights >> 7 & 1),
	};
}

static void segment_from_kvm(const struct kvm_segment *from, struct kiln__hv_x86_segment *to)
{
	*to = (struct kiln__hv_x86_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.rights = (uint16_t)((from->type & 15) | (from->s & 1) << 4 | (from->dpl & 3) << 5 |
				     (from->present & 1) << 7 | (from->avl & 1) << 12 |
				     (from->l & 1) << 13 | (from->db & 1) << 14 |
				     (from->g & 1) << 15),
	};
}

static void gprs_to_kvm(const struct kiln__hv_x86_state *state, struct kvm_regs *to)
{
	const uint64_t *gpr = state->gpr;

	*to = (struct kvm_regs){
		.rax = gpr[KILN__X86_RAX],
		.rcx = gpr[KILN__X86_RCX],
		.rdx = gpr[KILN__X86_RDX],
		.rbx = gpr[KILN__X86_RBX],
		.rsp = gpr[KILN__X86_RSP],
		.rbp = gpr[KILN__X86_RBP],
		.rsi = gpr[KILN__X86_RSI],
		.rdi = gpr[KILN__X86_RDI],
		.r8 = gpr[8],
		.r9 = gpr[9],
		.r10 = gpr[10],
		.r11 = gpr[11],
		.r12 = gpr[12],
		.r13 = gpr[13],
		.r14 = gpr[14],
		.r15 = gpr[15],
		.rip = state->rip,
		.rflags = state->rflags,
	};
}

static void gprs_from_kvm(const struct kvm_regs *from, struct kiln__hv_x86_state *state)
{
	const uint64_t gpr[KILN__X86_GPRS] = {
		from->rax, from->rcx, from->rdx, from->rbx, from->rsp, from->rbp,
		from->rsi, from->rdi, from->r8,  from->r9,  from->r10, from->r11,
		from->r12, from->r13, from->r14, from->r15,
	};

	memcpy(state->gpr, gpr, sizeof(gpr));
	state->rip = from->rip;
	state->rflags = from->rflags;
}

int kiln__hv_x86_get_state(struct kiln__hv_vcpu *vcpu, struct kiln__hv_x86_state *ret,
			   kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs s;

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_REGS");
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_SREGS");
	*ret = (struct kiln__hv_x86_state){
		.cr0 = s.cr0,
		.cr2 = s.cr2,
		.cr3 = s.cr3,
		.cr4 = s.cr4,
		.cr8 = s.cr8,
		.efer = s.efer,
		.gdt = {.base = s.gdt.base, .limit = s.gdt.limit},
		.idt = {.base = s.idt.base, .limit = s.idt.limit},
	};
	gprs_from_kvm(&regs, ret);
	segment_from_kvm(&s.cs, &ret->cs);
	segment_from_kvm(&s.ds, &ret->ds);
	segment_from_kvm(&s.es, &ret->es);
	segment_from_kvm(&s.fs, &ret->fs);
	segment_from_kvm(&s.gs, &ret->gs);
	segment_from_kvm(&s.ss, &ret->ss);
	segment_from_kvm(&s.tr, &ret->tr);
	segment_from_kvm(&s.ldt, &ret->ldt);
	return 0;
}

int kiln__hv_x86_set_state(struct kiln__hv_vcpu *vcpu, const struct kiln__hv_x86_state *state,
			   kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs s;

	/* Read first: it also holds the local APIC's base and pending interrupts, which stay. */
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_SREGS");
	s.cr0 = state->cr0;
	s.cr2 = state->cr2;
	s.cr3 = state->cr3;
	s.cr4 = state->cr4;
	s.cr8 = state->cr8;
	s.efer = state->efer;
	s.gdt = (struct kvm_dtable){.base = state->gdt.base, .limit = state->gdt.limit};
	s.idt = (struct kvm_dtable){.base = state->idt.base, .limit = state->idt.limit};
	segment_to_kvm(&state->cs, &s.cs);
	segment_to_kvm(&state->ds, &s.ds);
	segment_to_kvm(&state->es, &s.es);
	segment_to_kvm(&state->fs, &s.fs);
	segment_to_kvm(&state->gs, &s.gs);
	segment_to_kvm(&state->ss, &s.ss);
	segment_to_kvm(&state->tr, &s.tr);
	segment_to_kvm(&state->ldt, &s.ldt);
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_SREGS, &s) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_SREGS");
	gprs_to_kvm(state, &regs);
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_REGS");
	return 0;
}

int kiln__hv_x86_set_xcr0(struct kiln__hv_vcpu *vcpu, uint64_t xcr0, kiln_error *err)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = xcr0}}};

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_XCRS");
	return 0;
}

/* --- CPUID -------------------------------------------------------------------------- */

union cpuid_arg { /* the header and its flexible array's room */
	struct kvm_cpuid2 kvm;
	uint8_t bytes[sizeof(struct kvm_cpuid2) +
		      KILN__HV_MAX_CPUID * sizeof(struct kvm_cpuid_entry2)];
};

int kiln__hv_x86_host_cpuid(const struct kiln__hv *hv, struct kiln__hv_x86_cpuid *entries,
			    kiln_error *err)
{
	union cpuid_arg arg = {.kvm = {.nent = KILN__HV_MAX_CPUID}};

	if (kiln__kvm_ioctl_p(hv->fd, KVM_GET_SUPPORTED_CPUID, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < arg.kvm.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &arg.kvm.entries[i];

		entries[i] = (struct kiln__hv_x86_cpuid){
			.leaf = e->function,
			.subleaf = e->index,
			.by_subleaf = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = e->eax,
			.ebx = e->ebx,
			.ecx = e->ecx,
			.edx = e->edx,
		};
	}
	return (int)arg.kvm.nent;
}

int kiln__hv_x86_set_cpuid(struct kiln__hv_vcpu *vcpu, const struct kiln__hv_x86_cpuid *entries,
			   size_t count, kiln_error *err)
{
	union cpuid_arg arg = {.kvm = {.nent = (uint32_t)count}};

	if (count > KILN__HV_MAX_CPUID)
		return kiln__fail(err, KILN_EOVERFLOW, "too many CPUID entries: %zu", count);
	for (size_t i = 0; i < count; i++) {
		const struct kiln__hv_x86_cpuid *e = &entries[i];

		arg.kvm.entries[i] = (struct kvm_cpuid_entry2){
			.function = e->leaf,
			.index = e->subleaf,
			.flags = e->by_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = e->eax,
			.ebx = e->ebx,
			.ecx = e->ecx,
			.edx = e->edx,
		};
	}
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_CPUID2, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_CPUID2");
	return 0;
}
