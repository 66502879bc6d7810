/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole state of x86-64 vCPUs and VMs on KVM as blobs: KVM's own structures, one a
 * section. Order matters when it is loaded (api.rst): CPUID before what depends on it, XCR0
 * before the extended state, the time stamp counter among the last, what is pending at the end.
 */
#include "internal.h"
#include "state.h"

#include <kiln/hv_x86.h>

#include "err.h"
#include "syscalls.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Of vCPUs and VMs whose process has given up all else: to save, to load, and what both ask. */
KILN__SYSCALLS(ioctl(1 = 0xc008ae91), ioctl(1 = 0x8188aea6), ioctl(1 = 0x9000aea4),
	       ioctl(1 = 0x81a0ae8c), ioctl(1 = 0x8080aea1), ioctl(1 = 0x8400ae8e),
	       ioctl(1 = 0x8004ae98), ioctl(1 = 0xc004ae02), ioctl(1 = 0x8040ae9f),
	       ioctl(1 = 0xc208ae62), ioctl(1 = 0x8030ae7c), ioctl(1 = 0xae03));
KILN__SYSCALLS(ioctl(1 = 0x4188aea7), ioctl(1 = 0x5000aea5), ioctl(1 = 0x41a0ae8d),
	       ioctl(1 = 0x4080aea2), ioctl(1 = 0x4400ae8f), ioctl(1 = 0x4004ae99),
	       ioctl(1 = 0x4040aea0), ioctl(1 = 0x8208ae63), ioctl(1 = 0x4030ae7b));
_Static_assert(KVM_GET_CPUID2 == 0xc008ae91 && KVM_GET_XCRS == 0x8188aea6 &&
		       KVM_GET_XSAVE == 0x9000aea4 && KVM_GET_FPU == 0x81a0ae8c &&
		       KVM_GET_DEBUGREGS == 0x8080aea1 && KVM_GET_LAPIC == 0x8400ae8e &&
		       KVM_GET_MP_STATE == 0x8004ae98 && KVM_GET_MSR_INDEX_LIST == 0xc004ae02 &&
		       KVM_GET_VCPU_EVENTS == 0x8040ae9f && KVM_GET_IRQCHIP == 0xc208ae62 &&
		       KVM_GET_CLOCK == 0x8030ae7c && KVM_CHECK_EXTENSION == 0xae03,
	       "as declared");
_Static_assert(KVM_SET_XCRS == 0x4188aea7 && KVM_SET_XSAVE == 0x5000aea5 &&
		       KVM_SET_FPU == 0x41a0ae8d && KVM_SET_DEBUGREGS == 0x4080aea2 &&
		       KVM_SET_LAPIC == 0x4400ae8f && KVM_SET_MP_STATE == 0x4004ae99 &&
		       KVM_SET_VCPU_EVENTS == 0x4040aea0 && KVM_SET_IRQCHIP == 0x8208ae63 &&
		       KVM_SET_CLOCK == 0x4030ae7b,
	       "as declared");

enum section {
	FINGERPRINT = 1,
	CPUID,
	REGS,
	SREGS,
	XCRS,
	XSAVE,
	FPU, /* where there is no XSAVE */
	DEBUGREGS,
	LAPIC,
	MSRS,
	MP_STATE,
	EVENTS,
	PIC_MASTER,
	PIC_SLAVE,
	IOAPIC,
	CLOCK,
};

/* --- the processor ------------------------------------------------------------------------- */

/* What the processor that a state was made on could do; all of it must be here, too. */
struct fingerprint {
	char vendor[16];
	uint32_t signature; /* family, model and stepping: CPUID 1, EAX */
	uint32_t features[8];
};

static void take_fingerprint(struct fingerprint *ret)
{
	unsigned a, b, c, d;

	*ret = (struct fingerprint){.signature = 0};
	__cpuid(0, a, b, c, d);
	memcpy(ret->vendor, &b, 4);
	memcpy(ret->vendor + 4, &d, 4);
	memcpy(ret->vendor + 8, &c, 4);
	if (__get_cpuid(1, &ret->signature, &b, &ret->features[0], &ret->features[1]))
		ret->features[0] &= ~(1u << 27); /* OSXSAVE is the system's doing */
	if (__get_cpuid_count(7, 0, &a, &ret->features[2], &ret->features[3], &ret->features[4]))
		ret->features[3] &= ~(1u << 4); /* and so is OSPKE */
	__get_cpuid(0x80000001, &a, &b, &ret->features[5], &ret->features[6]);
	if (__get_cpuid_count(0xd, 0, &a, &b, &c, &d))
		ret->features[7] = a; /* state that XSAVE can save */
}

static int check_fingerprint(const void *blob, size_t size, kiln_error *err)
{
	static const char *const registers[] = {"1.ecx", "1.edx",        "7.ebx",        "7.ecx",
						"7.edx", "80000001.ecx", "80000001.edx", "d.eax"};
	struct fingerprint there;
	struct fingerprint here;
	int code = kiln__blob_get(blob, size, FINGERPRINT, &there, sizeof(there), err);

	if (code < 0)
		return code;
	take_fingerprint(&here);
	if (memcmp(there.vendor, here.vendor, sizeof(here.vendor)) != 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "the state is of a processor by %.12s, this one is by %.12s",
				  there.vendor, here.vendor);
	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		uint32_t lacking = there.features[i] & ~here.features[i];

		if (lacking)
			return kiln__fail(err, KILN_ENOTSUP,
					  "this processor lacks what the state's had: CPUID %s, "
					  "bits 0x%x",
					  registers[i], lacking);
	}
	return 0;
}

/* --- one structure -------------------------------------------------------------------------- */

static int save(int fd, struct kiln__buf *blob, enum section section, unsigned long request,
		const char *name, void *room, size_t len, kiln_error *err)
{
	if (kiln__kvm_ioctl_p(fd, request, room) < 0)
		return kiln__fail_errno(err, errno, "%s", name);
	kiln__blob_add(blob, section, room, len);
	return 0;
}

static int load(int fd, const void *blob, size_t size, enum section section, unsigned long request,
		const char *name, void *room, size_t len, kiln_error *err)
{
	int code = kiln__blob_get(blob, size, section, room, len, err);

	if (code == 0 && kiln__kvm_ioctl_p(fd, request, room) < 0)
		code = kiln__fail_errno(err, errno, "%s", name);
	return code;
}

#define SAVE(section, request, room)                                                               \
	save(vcpu->fd, &blob, section, request, #request, &(room), sizeof(room), err)
#define LOAD(section, request, room)                                                               \
	load(vcpu->fd, blob, size, section, request, #request, &(room), sizeof(room), err)

/* --- MSRs ------------------------------------------------------------------------------------ */

#define MAX_MSRS 512

union msr_list {
	struct kvm_msr_list kvm;
	uint8_t bytes[sizeof(struct kvm_msr_list) + MAX_MSRS * sizeof(uint32_t)];
};

union msrs {
	struct kvm_msrs kvm;
	uint8_t bytes[sizeof(struct kvm_msrs) + MAX_MSRS * sizeof(struct kvm_msr_entry)];
};

/*
 * All that KVM says are to be saved. Reading stops at one that this guest does not have, which is
 * left out, and goes on behind it.
 */
static int save_msrs(kiln_hv_vcpu *vcpu, struct kiln__buf *blob, kiln_error *err)
{
	union msr_list list = {.kvm = {.nmsrs = MAX_MSRS}};
	kiln__autobuf saved = KILN__BUF_INIT;

	if (kiln__kvm_ioctl_p(vcpu->vm->hv->fd, KVM_GET_MSR_INDEX_LIST, &list) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_MSR_INDEX_LIST");
	for (uint32_t i = 0; i < list.kvm.nmsrs;) {
		union msrs arg = {.kvm = {.nmsrs = list.kvm.nmsrs - i}};
		int n;

		for (uint32_t k = 0; k < arg.kvm.nmsrs; k++)
			arg.kvm.entries[k].index = list.kvm.indices[i + k];
		n = kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_MSRS, &arg);
		if (n < 0)
			return kiln__fail_errno(err, errno, "KVM_GET_MSRS");
		kiln__buf_add(&saved, arg.kvm.entries, (size_t)n * sizeof(arg.kvm.entries[0]));
		i += (uint32_t)n + ((uint32_t)n < arg.kvm.nmsrs);
	}
	if (saved.failed)
		return kiln__fail_nomem(err);
	kiln__blob_add(blob, MSRS, saved.data, saved.len);
	return 0;
}

static int load_msrs(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	size_t len = 0;
	const struct kvm_msr_entry *entries = kiln__blob_find(blob, size, MSRS, &len);
	size_t count = len / sizeof(*entries);
	union msrs arg = {.kvm = {.nmsrs = (uint32_t)count}};
	int n;

	if (!entries || len % sizeof(*entries) || count > MAX_MSRS)
		return kiln__fail(err, KILN_EFORMAT, "the state's MSRs are damaged");
	memcpy(arg.kvm.entries, entries, len);
	n = kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_MSRS, &arg);
	if (n < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_MSRS");
	if ((size_t)n < count)
		return kiln__fail(err, KILN_ENOTSUP, "this KVM does not take MSR 0x%x",
				  entries[n].index);
	return 0;
}

/* --- CPUID, as it was set ----------------------------------------------------------------------
 */

union cpuid_arg {
	struct kvm_cpuid2 kvm;
	uint8_t bytes[sizeof(struct kvm_cpuid2) +
		      KILN_HV_MAX_CPUID * sizeof(struct kvm_cpuid_entry2)];
};

static int save_cpuid(kiln_hv_vcpu *vcpu, struct kiln__buf *blob, kiln_error *err)
{
	union cpuid_arg arg = {.kvm = {.nent = KILN_HV_MAX_CPUID}};

	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_CPUID2, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_GET_CPUID2");
	kiln__blob_add(blob, CPUID, arg.kvm.entries, arg.kvm.nent * sizeof(arg.kvm.entries[0]));
	return 0;
}

/* A vCPU that has run keeps its CPUID: it is set only where it differs. */
static int load_cpuid(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	size_t len = 0;
	const struct kvm_cpuid_entry2 *entries = kiln__blob_find(blob, size, CPUID, &len);
	size_t count = len / sizeof(*entries);
	union cpuid_arg arg = {.kvm = {.nent = KILN_HV_MAX_CPUID}};

	if (!entries || len % sizeof(*entries) || count > KILN_HV_MAX_CPUID)
		return kiln__fail(err, KILN_EFORMAT, "the state's CPUID is damaged");
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_CPUID2, &arg) == 0 && arg.kvm.nent == count &&
	    memcmp(arg.kvm.entries, entries, len) == 0)
		return 0;
	arg.kvm.nent = (uint32_t)count;
	memcpy(arg.kvm.entries, entries, len);
	if (kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_CPUID2, &arg) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_CPUID2");
	return 0;
}

/* --- vCPUs ---------------------------------------------------------------------------------------
 */

/* The part that only a VM with local APICs of KVM's has. */
static bool has_lapic(const kiln_hv_vcpu *vcpu)
{
	return vcpu->vm->irqchip != KILN_HV_IRQCHIP_NONE;
}

static int save_fpu(kiln_hv_vcpu *vcpu, struct kiln__buf *into, kiln_error *err)
{
	struct kiln__buf blob = *into;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_fpu fpu;
	int code = 0;

	if (kiln__kvm_cap(vcpu->vm->hv, KVM_CAP_XCRS))
		code = SAVE(XCRS, KVM_GET_XCRS, xcrs);
	if (code == 0 && kiln__kvm_cap(vcpu->vm->hv, KVM_CAP_XSAVE))
		code = SAVE(XSAVE, KVM_GET_XSAVE, xsave);
	else if (code == 0)
		code = SAVE(FPU, KVM_GET_FPU, fpu);
	*into = blob;
	return code;
}

int kiln_hv_vcpu_save(kiln_hv_vcpu *vcpu, void **ret, size_t *ret_size, kiln_error *err)
{
	kiln__autobuf blob = KILN__BUF_INIT;
	struct fingerprint fingerprint;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events = {0};
	int code;

	kiln__blob_begin(&blob, KILN__BLOB_VCPU);
	take_fingerprint(&fingerprint);
	kiln__blob_add(&blob, FINGERPRINT, &fingerprint, sizeof(fingerprint));
	code = save_cpuid(vcpu, &blob, err);
	if (code == 0)
		code = SAVE(REGS, KVM_GET_REGS, regs);
	if (code == 0)
		code = SAVE(SREGS, KVM_GET_SREGS, sregs);
	if (code == 0)
		code = save_fpu(vcpu, &blob, err);
	if (code == 0)
		code = SAVE(DEBUGREGS, KVM_GET_DEBUGREGS, debugregs);
	if (code == 0 && has_lapic(vcpu))
		code = SAVE(LAPIC, KVM_GET_LAPIC, lapic);
	if (code == 0 && has_lapic(vcpu))
		code = SAVE(MP_STATE, KVM_GET_MP_STATE, mp_state);
	if (code == 0)
		code = save_msrs(vcpu, &blob, err);
	if (code == 0)
		code = SAVE(EVENTS, KVM_GET_VCPU_EVENTS, events);
	return code < 0 ? code : kiln__blob_finish(&blob, ret, ret_size, err);
}

static int load_fpu(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_fpu fpu;
	size_t len;
	int code = 0;

	if (kiln__blob_find(blob, size, XCRS, &len))
		code = LOAD(XCRS, KVM_SET_XCRS, xcrs);
	if (code < 0)
		return code;
	if (kiln__blob_find(blob, size, XSAVE, &len))
		return LOAD(XSAVE, KVM_SET_XSAVE, xsave);
	return LOAD(FPU, KVM_SET_FPU, fpu);
}

int kiln_hv_vcpu_load(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
	int code = kiln__blob_check(blob, size, KILN__BLOB_VCPU, err);

	if (code == 0)
		code = check_fingerprint(blob, size, err);
	if (code == 0)
		code = load_cpuid(vcpu, blob, size, err);
	if (code == 0)
		code = LOAD(SREGS, KVM_SET_SREGS, sregs);
	if (code == 0)
		code = LOAD(REGS, KVM_SET_REGS, regs);
	if (code == 0)
		code = load_fpu(vcpu, blob, size, err);
	if (code == 0)
		code = LOAD(DEBUGREGS, KVM_SET_DEBUGREGS, debugregs);
	if (code == 0 && has_lapic(vcpu))
		code = LOAD(LAPIC, KVM_SET_LAPIC, lapic);
	if (code == 0)
		code = load_msrs(vcpu, blob, size, err);
	if (code == 0 && has_lapic(vcpu))
		code = LOAD(MP_STATE, KVM_SET_MP_STATE, mp_state);
	if (code == 0)
		code = LOAD(EVENTS, KVM_SET_VCPU_EVENTS, events);
	return code;
}

/* --- VMs
 * --------------------------------------------------------------------------------------------- */

static const struct chip {
	enum section section;
	uint32_t id;
} chips[] = {
	{PIC_MASTER, KVM_IRQCHIP_PIC_MASTER},
	{PIC_SLAVE, KVM_IRQCHIP_PIC_SLAVE},
	{IOAPIC, KVM_IRQCHIP_IOAPIC},
};

#define CHIPS (sizeof(chips) / sizeof(chips[0]))

int kiln_hv_vm_save(kiln_hv_vm *vm, void **ret, size_t *ret_size, kiln_error *err)
{
	kiln__autobuf blob = KILN__BUF_INIT;
	struct kvm_clock_data clock = {0};
	int code = 0;

	kiln__blob_begin(&blob, KILN__BLOB_VM);
	for (size_t i = 0; code == 0 && vm->irqchip == KILN_HV_IRQCHIP_FULL && i < CHIPS; i++) {
		struct kvm_irqchip chip = {.chip_id = chips[i].id};

		code = save(vm->fd, &blob, chips[i].section, KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP",
			    &chip, sizeof(chip), err);
	}
	if (code == 0)
		code = save(vm->fd, &blob, CLOCK, KVM_GET_CLOCK, "KVM_GET_CLOCK", &clock,
			    sizeof(clock), err);
	return code < 0 ? code : kiln__blob_finish(&blob, ret, ret_size, err);
}

int kiln_hv_vm_load(kiln_hv_vm *vm, const void *blob, size_t size, kiln_error *err)
{
	struct kvm_clock_data clock;
	int code = kiln__blob_check(blob, size, KILN__BLOB_VM, err);

	for (size_t i = 0; code == 0 && vm->irqchip == KILN_HV_IRQCHIP_FULL && i < CHIPS; i++) {
		struct kvm_irqchip chip;

		code = kiln__blob_get(blob, size, chips[i].section, &chip, sizeof(chip), err);
		if (code == 0 && chip.chip_id != chips[i].id)
			code = kiln__fail(err, KILN_EFORMAT, "the state's chips are mixed up");
		if (code == 0 && kiln__kvm_ioctl_p(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
			code = kiln__fail_errno(err, errno, "KVM_SET_IRQCHIP");
	}
	if (code == 0)
		code = kiln__blob_get(blob, size, CLOCK, &clock, sizeof(clock), err);
	if (code < 0)
		return code;
	clock.flags = 0; /* what it read then; the flags are of the host that it was */
	if (kiln__kvm_ioctl_p(vm->fd, KVM_SET_CLOCK, &clock) < 0)
		return kiln__fail_errno(err, errno, "KVM_SET_CLOCK");
	return 0;
}
