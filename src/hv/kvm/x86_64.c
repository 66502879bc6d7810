/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM port's x86-64 part: processor state and CPUID. */
#include "internal.h"
#include <kiln/hv_x86.h>

#include "err.h"
#include "syscalls.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* Of a vCPU, on its thread: it is made when its process has given up all else. */
KILN__SYSCALLS(ioctl(1 = 0x8090ae81), ioctl(1 = 0x4090ae82), ioctl(1 = 0x8138ae83),
	       ioctl(1 = 0x4138ae84), ioctl(1 = 0x4008ae90), ioctl(1 = 0xc008ae88),
	       ioctl(1 = 0x4008ae89), ioctl(1 = 0xaea3));
_Static_assert(KVM_GET_REGS == 0x8090ae81 && KVM_SET_REGS == 0x4090ae82 &&
		       KVM_GET_SREGS == 0x8138ae83 && KVM_SET_SREGS == 0x4138ae84 &&
		       KVM_SET_CPUID2 == 0x4008ae90 && KVM_GET_MSRS == 0xc008ae88 &&
		       KVM_SET_MSRS == 0x4008ae89 && KVM_GET_TSC_KHZ == 0xaea3,
	       "as declared");

/*
 * Intel processors without "unrestricted guest" run real mode in a task that
 * needs three pages of guest-physical space (api.rst, KVM_SET_TSS_ADDR) and an
 * identity map of one. The place below 4 GiB that QEMU and others use, under the
 * firmware and where no RAM is put.
 */
#define TSS_ADDRESS          0xfffbd000u
#define IDENTITY_MAP_ADDRESS 0xfffbc000u

#define IOAPIC_PINS 24

#define RFLAGS_IF (1u << 9)

#define CPUID_1_ECX_VMX        (1u << 5)
#define CPUID_80000001_ECX_SVM (1u << 2)

const struct kiln__kvm_feature kiln__kvm_arch_features[] = {
	{KVM_CAP_SET_TSS_ADDR, "set-tss-addr"},
	{KVM_CAP_EXT_CPUID, "ext-cpuid"},
	{KVM_CAP_PIT2, "pit2"},
	{KVM_CAP_SIGNAL_MSI, "signal-msi"},
	{KVM_CAP_VCPU_EVENTS, "vcpu-events"},
	{KVM_CAP_XSAVE, "xsave"},
	{0, NULL},
};

unsigned long kiln__kvm_vm_type(const kiln_hv *hv)
{
	(void)hv;
	return 0; /* api.rst, KVM_CREATE_VM: the default kind */
}

/* The modules for processors with VMX alone want addresses for what real mode takes there. */
static bool has_svm(void)
{
	unsigned a, b, c, d;

	/* "AuthenticAMD" and "HygonGenuine": what vmx.c is not for. */
	return __get_cpuid(0, &a, &b, &c, &d) && (c == 0x444d4163 || c == 0x656e6975);
}

int kiln__kvm_vm_setup(kiln_hv_vm *vm, kiln_error *err)
{
	uint64_t identity = IDENTITY_MAP_ADDRESS;

	if (has_svm())
		return 0;
	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (kiln__kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_TSS_ADDR");
	return 0;
}

/* Every KVM on x86 has the two PICs, the I/O APIC and local APICs, or none of them (api.rst,
 * KVM_CREATE_IRQCHIP). */
enum kiln_hv_irqchip kiln__kvm_irqchip(const kiln_hv *hv)
{
	return kiln__kvm_cap(hv, KVM_CAP_IRQCHIP) ? KILN_HV_IRQCHIP_FULL : KILN_HV_IRQCHIP_NONE;
}

/*
 * A new PIC of KVM's has nothing masked and delivers vectors from 0 on: a guest without drivers for
 * it would have each of the first lines twice, the second time as an exception. So all is masked,
 * as firmware leaves it, until a guest programs it (8259A data sheet, OCW1). The second PIC goes by
 * the first.
 */
static int mask_pic(kiln_hv_vm *vm, kiln_error *err)
{
	struct kvm_irqchip chip = {
		.chip_id = KVM_IRQCHIP_PIC_MASTER,
		.chip.pic = {.imr = 0xff, .elcr_mask = 0xf8}, /* lines 0 to 2 are never level */
	};

	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_IRQCHIP");
	return 0;
}

int kiln__kvm_irqchip_new(kiln_hv_vm *vm, kiln_error *err)
{
	if (vm->irqchip == KILN_HV_IRQCHIP_LOCAL) {
		struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};
		int code;

		if (kiln__kvm_ioctl_p(vm->fd, KVM_ENABLE_CAP, &split) == 0)
			return 0;
		/* Asked for only now: each start would pay for the question. */
		code = errno;
		if (!kiln__kvm_cap(vm->hv, KVM_CAP_SPLIT_IRQCHIP))
			return kiln__fail(err, KILN_ENOTSUP,
					  "this KVM has no local APICs without an I/O APIC");
		return kiln__fail_errno(err, code, "KVM_CAP_SPLIT_IRQCHIP");
	}
	if (kiln__kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return kiln__fail_errno(err, errno, "KVM_CREATE_IRQCHIP");
	return mask_pic(vm, err);
}

/* What it can offer includes VMX or SVM only where its module says so. */
bool kiln__kvm_is_nested(const kiln_hv *hv)
{
	kiln_hv_x86_cpuid entries[KILN_HV_MAX_CPUID];
	int count = kiln_hv_x86_host_cpuid(hv, entries, NULL);

	for (int i = 0; i < count; i++) {
		if (entries[i].leaf == 1 && entries[i].ecx & CPUID_1_ECX_VMX)
			return true;
		if (entries[i].leaf == 0x80000001 && entries[i].ecx & CPUID_80000001_ECX_SVM)
			return true;
	}
	return false;
}

static void segment_to_kvm(const kiln_hv_x86_segment *from, struct kvm_segment *to)
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

static void segment_from_kvm(const struct kvm_segment *from, kiln_hv_x86_segment *to)
{
	*to = (kiln_hv_x86_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.rights = (uint16_t)((from->type & 15) | (from->s & 1) << 4 | (from->dpl & 3) << 5 |
				     (from->present & 1) << 7 | (from->avl & 1) << 12 |
				     (from->l & 1) << 13 | (from->db & 1) << 14 |
				     (from->g & 1) << 15),
	};
}

static void gprs_to_kvm(const kiln_hv_x86_state *state, struct kvm_regs *to)
{
	const uint64_t *gpr = state->gpr;

	*to = (struct kvm_regs){
		.rax = gpr[KILN_X86_RAX],
		.rcx = gpr[KILN_X86_RCX],
		.rdx = gpr[KILN_X86_RDX],
		.rbx = gpr[KILN_X86_RBX],
		.rsp = gpr[KILN_X86_RSP],
		.rbp = gpr[KILN_X86_RBP],
		.rsi = gpr[KILN_X86_RSI],
		.rdi = gpr[KILN_X86_RDI],
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

static void gprs_from_kvm(const struct kvm_regs *from, kiln_hv_x86_state *state)
{
	const uint64_t gpr[KILN_X86_GPRS] = {
		from->rax, from->rcx, from->rdx, from->rbx, from->rsp, from->rbp,
		from->rsi, from->rdi, from->r8,  from->r9,  from->r10, from->r11,
		from->r12, from->r13, from->r14, from->r15,
	};

	memcpy(state->gpr, gpr, sizeof(gpr));
	state->rip = from->rip;
	state->rflags = from->rflags;
}

int kiln_hv_x86_get_state(kiln_hv_vcpu *vcpu, kiln_hv_x86_state *ret, kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs s;

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_REGS");
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_SREGS");
	*ret = (kiln_hv_x86_state){
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

int kiln_hv_x86_set_state(kiln_hv_vcpu *vcpu, const kiln_hv_x86_state *state, kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs s;
	int code = kiln__kvm_finish_access(vcpu, err);

	if (code < 0)
		return code;
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

int kiln_hv_x86_set_xcr0(kiln_hv_vcpu *vcpu, uint64_t xcr0, kiln_error *err)
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
		      KILN_HV_MAX_CPUID * sizeof(struct kvm_cpuid_entry2)];
};

int kiln_hv_x86_host_cpuid(const kiln_hv *hv, kiln_hv_x86_cpuid *entries, kiln_error *err)
{
	union cpuid_arg arg = {.kvm = {.nent = KILN_HV_MAX_CPUID}};

	if (kiln__kvm_ioctl_p(hv->fd, KVM_GET_SUPPORTED_CPUID, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < arg.kvm.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &arg.kvm.entries[i];

		entries[i] = (kiln_hv_x86_cpuid){
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

int kiln_hv_x86_set_cpuid(kiln_hv_vcpu *vcpu, const kiln_hv_x86_cpuid *entries, size_t count,
			  kiln_error *err)
{
	union cpuid_arg arg = {.kvm = {.nent = (uint32_t)count}};

	if (count > KILN_HV_MAX_CPUID)
		return kiln__fail(err, KILN_EOVERFLOW, "too many CPUID entries: %zu", count);
	for (size_t i = 0; i < count; i++) {
		const kiln_hv_x86_cpuid *e = &entries[i];

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

/* --- MSRs, FPU, events ------------------------------------------------------------------ */

union msrs_arg {
	struct kvm_msrs kvm;
	uint8_t bytes[sizeof(struct kvm_msrs) + KILN_HV_MAX_MSRS * sizeof(struct kvm_msr_entry)];
};

static int move_msrs(kiln_hv_vcpu *vcpu, const kiln_hv_x86_msr *msrs, kiln_hv_x86_msr *ret,
		     size_t count, kiln_error *err)
{
	union msrs_arg arg = {.kvm = {.nmsrs = (uint32_t)count}};
	int n;

	if (count > KILN_HV_MAX_MSRS)
		return kiln__fail(err, KILN_EOVERFLOW, "too many MSRs: %zu", count);
	for (size_t i = 0; i < count; i++)
		arg.kvm.entries[i] =
			(struct kvm_msr_entry){.index = msrs[i].index, .data = msrs[i].value};
	n = kiln__kvm_ioctl_p(vcpu->fd, ret ? KVM_GET_MSRS : KVM_SET_MSRS, &arg);
	if (n < 0)
		return kiln__fail_errno(err, errno, ret ? "KVM_GET_MSRS" : "KVM_SET_MSRS");
	if ((size_t)n < count)
		return kiln__fail(err, KILN_EINVAL, "this KVM does not %s MSR 0x%x",
				  ret ? "have" : "take", msrs[n].index);
	for (size_t i = 0; ret && i < count; i++)
		ret[i].value = arg.kvm.entries[i].data;
	return 0;
}

int kiln_hv_x86_get_msrs(kiln_hv_vcpu *vcpu, kiln_hv_x86_msr *msrs, size_t count, kiln_error *err)
{
	return move_msrs(vcpu, msrs, msrs, count, err);
}

int kiln_hv_x86_set_msrs(kiln_hv_vcpu *vcpu, const kiln_hv_x86_msr *msrs, size_t count,
			 kiln_error *err)
{
	return move_msrs(vcpu, msrs, NULL, count, err);
}

/*
 * By XSAVE, whose first part is laid out as FXSAVE's (SDM vol. 1, 13.4.1): KVM_GET_FPU and
 * KVM_SET_FPU leave MXCSR out. This size holds all state but what a process must ask the system for
 * (AMX).
 */
static int get_xsave(kiln_hv_vcpu *vcpu, struct kvm_xsave *ret, kiln_error *err)
{
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_XSAVE, ret) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_XSAVE");
	return 0;
}

int kiln_hv_x86_get_fpu(kiln_hv_vcpu *vcpu, uint8_t ret[KILN_HV_X86_FPU_SIZE], kiln_error *err)
{
	struct kvm_xsave xsave;
	int code = get_xsave(vcpu, &xsave, err);

	if (code == 0)
		memcpy(ret, xsave.region, KILN_HV_X86_FPU_SIZE);
	return code;
}

#define XSTATE_BV (512 / sizeof(uint32_t)) /* SDM vol. 1, 13.4.2; bit 0 is x87, bit 1 is SSE */

int kiln_hv_x86_set_fpu(kiln_hv_vcpu *vcpu, const uint8_t from[KILN_HV_X86_FPU_SIZE],
			kiln_error *err)
{
	struct kvm_xsave xsave;
	int code = get_xsave(vcpu, &xsave, err);

	if (code < 0)
		return code;
	memcpy(xsave.region, from, KILN_HV_X86_FPU_SIZE);
	xsave.region[XSTATE_BV] |= 3;
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_XSAVE, &xsave) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_XSAVE");
	return 0;
}

int kiln_hv_x86_get_events(kiln_hv_vcpu *vcpu, kiln_hv_x86_events *ret, kiln_error *err)
{
	struct kvm_vcpu_events e = {0};

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_VCPU_EVENTS");
	*ret = (kiln_hv_x86_events){
		.exception = e.exception.injected,
		.has_error = e.exception.has_error_code,
		.vector = e.exception.nr,
		.error = e.exception.error_code,
		.interrupt = e.interrupt.injected,
		.interrupt_vector = e.interrupt.nr,
		.shadow = e.interrupt.shadow,
		.nmi_pending = e.nmi.pending || e.nmi.injected,
		.nmi_masked = e.nmi.masked,
	};
	return 0;
}

int kiln_hv_x86_set_events(kiln_hv_vcpu *vcpu, const kiln_hv_x86_events *events, kiln_error *err)
{
	struct kvm_vcpu_events e = {0};
	int code = kiln__kvm_finish_access(vcpu, err);

	if (code < 0)
		return code;
	/* Read first: it also holds what this port does not show, which stays. */
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_VCPU_EVENTS");
	e.exception.injected = events->exception;
	e.exception.has_error_code = events->has_error;
	e.exception.nr = events->vector;
	e.exception.error_code = events->error;
	e.interrupt.injected = events->interrupt;
	e.interrupt.nr = events->interrupt_vector;
	if (!events->shadow || !e.interrupt.shadow) /* of which kind, KVM knows: it stays */
		e.interrupt.shadow = events->shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0;
	e.nmi.injected = 0;
	e.nmi.pending = events->nmi_pending;
	e.nmi.masked = events->nmi_masked;
	e.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_VCPU_EVENTS, &e) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_VCPU_EVENTS");
	return 0;
}

/* What SDM vol. 3, 6.8 says, and nothing else being delivered. KVM does not look itself. */
static int takes_interrupts(kiln_hv_vcpu *vcpu, kiln_error *err)
{
	struct kvm_vcpu_events e = {0};
	struct kvm_regs regs;

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_VCPU_EVENTS");
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_REGS");
	return regs.rflags & RFLAGS_IF && !e.interrupt.shadow && !e.interrupt.injected &&
	       !e.exception.injected && !e.exception.pending && !e.nmi.injected;
}

int kiln_hv_x86_interrupt(kiln_hv_vcpu *vcpu, uint8_t vector, kiln_error *err)
{
	struct kvm_interrupt irq = {.irq = vector};
	int code;

	if (vcpu->vm->irqchip != KILN_HV_IRQCHIP_NONE)
		return kiln__fail(err, KILN_ENOTSUP,
				  "interrupts of this VM go by its interrupt controller");
	code = kiln__kvm_finish_access(vcpu, err);
	if (code == 0)
		code = takes_interrupts(vcpu, err);
	if (code < 0)
		return code;
	vcpu->run->request_interrupt_window = code == 0;
	if (code == 0)
		return kiln__fail(err, KILN_EBUSY, "the guest takes no interrupt now");
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_INTERRUPT, &irq) < 0)
		return kiln__fail_errno(err, errno, "KVM_INTERRUPT");
	return 0;
}

int kiln_hv_x86_tsc_khz(kiln_hv_vcpu *vcpu, uint32_t *ret, kiln_error *err)
{
	int khz = kiln__kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);

	if (khz <= 0)
		return kiln__fail(err, KILN_ENOTSUP, "KVM does not tell the TSC's frequency");
	*ret = (uint32_t)khz;
	return 0;
}
