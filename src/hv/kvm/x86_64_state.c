/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole state of x86-64 vCPUs and VMs on KVM as blobs: KVM's own structures, one a
 * section. Order matters. Reading whether a vCPU runs or waits first takes INIT and SIPI that have
 * come, which change the rest, and reading what is pending comes last. Set are CPUID before what
 * depends on it, XCR0 before the extended state, the local APIC before the MSRs (the deadline
 * timer's needs its mode), what is pending at the end, since setting registers clears it.
 *
 * A blob may come from a file: its structure is checked here, what is in the structures by KVM.
 */
#include "internal.h"
#include "state.h"

#include <kiln/hv_x86.h>

#include "err.h"
#include "printable.h"
#include "syscalls.h"

#include <cpuid.h>
#include <errno.h>
#include <stddef.h>
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
	DEBUGREGS,
	LAPIC,
	MSRS,
	MP_STATE,
	EVENTS,
	PIC_MASTER,
	PIC_SLAVE,
	IOAPIC,
	CLOCK,
	TSC_KHZ,
};

/* --- the processor ------------------------------------------------------------------------- */

/* What the processor that a state was made on could do; all of it must be here, too. */
struct fingerprint {
	char vendor[16];
	uint32_t signature;   /* family, model and stepping: CPUID 1, EAX; for people */
	uint32_t features[8]; /* in the order of feature_words */
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

/* Where each word of the features is in CPUID. */
static const struct feature_word {
	const char *name;
	uint32_t leaf;
	size_t reg; /* its offset in an entry */
} feature_words[] = {
#define WORD(leaf, reg)                                                                            \
	{                                                                                          \
#leaf "." #reg, leaf, offsetof(struct kvm_cpuid_entry2, reg)                       \
	}
	WORD(1, ecx), WORD(1, edx),          WORD(7, ebx),          WORD(7, ecx),
	WORD(7, edx), WORD(0x80000001, ecx), WORD(0x80000001, edx), WORD(0xd, eax),
#undef WORD
};

/* What the guest was told there: what it was not told of, it does not miss. */
static uint32_t told(const uint8_t *cpuid, size_t len, const struct feature_word *word)
{
	struct kvm_cpuid_entry2 entry;
	uint32_t bits = 0;

	for (size_t at = 0; at + sizeof(entry) <= len; at += sizeof(entry)) {
		memcpy(&entry, cpuid + at, sizeof(entry));
		if (entry.function == word->leaf && entry.index == 0)
			memcpy(&bits, (const uint8_t *)&entry + word->reg, sizeof(bits));
	}
	return bits;
}

static int check_fingerprint(const void *blob, size_t size, kiln_error *err)
{
	struct fingerprint there;
	struct fingerprint here;
	size_t len = 0;
	const uint8_t *cpuid = kiln__blob_find(blob, size, CPUID, &len);
	int code = kiln__blob_get(blob, size, FINGERPRINT, &there, sizeof(there), err);

	if (code < 0)
		return code;
	take_fingerprint(&here);
	there.vendor[sizeof(there.vendor) - 1] = '\0';
	if (strcmp(there.vendor, here.vendor) != 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "the state is of a processor by %s, this one is by %s",
				  kiln__printable(there.vendor), here.vendor);
	for (size_t i = 0; i < sizeof(feature_words) / sizeof(feature_words[0]); i++) {
		uint32_t lacking =
			there.features[i] & ~here.features[i] & told(cpuid, len, &feature_words[i]);

		if (lacking)
			return kiln__fail(err, KILN_ENOTSUP,
					  "this processor (signature 0x%x) lacks what the state's "
					  "(0x%x) had: CPUID %s, bits 0x%x",
					  here.signature, there.signature, feature_words[i].name,
					  lacking);
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

/* In functions with vcpu and blob (and size) in scope. */
#define SAVE(section, request, room)                                                               \
	save(vcpu->fd, blob, section, request, #request, &(room), sizeof(room), err)
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

/* Whether an MSR has this value already: KVM lets some be read that it does not let be set. */
static bool has_msr(kiln_hv_vcpu *vcpu, const struct kvm_msr_entry *wanted)
{
	union msrs arg = {.kvm = {.nmsrs = 1}};

	arg.kvm.entries[0].index = wanted->index;
	return kiln__kvm_ioctl_p(vcpu->fd, KVM_GET_MSRS, &arg) == 1 &&
	       arg.kvm.entries[0].data == wanted->data;
}

static int load_msrs(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	size_t len = 0;
	const uint8_t *entries = kiln__blob_find(blob, size, MSRS, &len);
	size_t count = len / sizeof(struct kvm_msr_entry);
	size_t n;

	if (!entries || len % sizeof(struct kvm_msr_entry) || count > MAX_MSRS)
		return kiln__fail(err, KILN_EFORMAT, "the state's MSRs are damaged");
	for (size_t i = 0; i < count; i += n) {
		union msrs arg = {.kvm = {.nmsrs = (uint32_t)(count - i)}};
		int set;

		memcpy(arg.kvm.entries, entries + i * sizeof(struct kvm_msr_entry),
		       (count - i) * sizeof(struct kvm_msr_entry));
		set = kiln__kvm_ioctl_p(vcpu->fd, KVM_SET_MSRS, &arg);
		if (set < 0)
			return kiln__fail_errno(err, errno, "KVM_SET_MSRS");
		n = (size_t)set;
		if (n == count - i)
			break;
		if (!has_msr(vcpu, &arg.kvm.entries[n]))
			return kiln__fail(err, KILN_ENOTSUP, "this KVM does not take MSR 0x%x",
					  arg.kvm.entries[n].index);
		n++;
	}
	return 0;
}

/* --- CPUID, as it was set ------------------------------------------------------------------- */

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
	const void *entries = kiln__blob_find(blob, size, CPUID, &len);
	size_t count = len / sizeof(struct kvm_cpuid_entry2);
	union cpuid_arg arg = {.kvm = {.nent = KILN_HV_MAX_CPUID}};

	if (!entries || len % sizeof(struct kvm_cpuid_entry2) || count > KILN_HV_MAX_CPUID)
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

/* --- the time stamp counter's frequency ------------------------------------------------------- */

static void save_tsc_khz(kiln_hv_vcpu *vcpu, struct kiln__buf *blob)
{
	int khz = kiln__kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	uint32_t value = khz > 0 ? (uint32_t)khz : 0; /* 0: it is not known */

	kiln__blob_add(blob, TSC_KHZ, &value, sizeof(value));
}

static int load_tsc_khz(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	int here = kiln__kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	uint32_t khz;
	int code = kiln__blob_get(blob, size, TSC_KHZ, &khz, sizeof(khz), err);

	if (code < 0 || khz == 0 || (here > 0 && (uint32_t)here == khz))
		return code;
	if (kiln__kvm_ioctl(vcpu->fd, KVM_SET_TSC_KHZ, khz) < 0)
		return kiln__fail(err, KILN_ENOTSUP,
				  "this processor's time stamp counter cannot count at the state's "
				  "%u kHz",
				  khz);
	return 0;
}

/* --- vCPUs ------------------------------------------------------------------------------------ */

/* The part that only a VM with local APICs of KVM's has. */
static bool has_lapic(const kiln_hv_vcpu *vcpu)
{
	return vcpu->vm->irqchip != KILN_HV_IRQCHIP_NONE;
}

#define CR4_VMXE  (1u << 13) /* SDM vol. 3, 24.7 */
#define EFER_SVME (1u << 12) /* AMD64 manual vol. 2, 3.1.7 */

static int save_registers(kiln_hv_vcpu *vcpu, struct kiln__buf *blob, kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	int code = SAVE(SREGS, KVM_GET_SREGS, sregs);

	if (code == 0 && (sregs.cr4 & CR4_VMXE || sregs.efer & EFER_SVME))
		return kiln__fail(
			err, KILN_ENOTSUP,
			"the guest is a hypervisor itself: the state of its VMs cannot be saved");
	if (code == 0)
		code = SAVE(REGS, KVM_GET_REGS, regs);
	if (code == 0)
		code = SAVE(DEBUGREGS, KVM_GET_DEBUGREGS, debugregs);
	return code;
}

static int save_extended(kiln_hv_vcpu *vcpu, struct kiln__buf *blob, kiln_error *err)
{
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	int code = 0;

	if (kiln__kvm_cap(vcpu->vm->hv, KVM_CAP_XCRS))
		code = SAVE(XCRS, KVM_GET_XCRS, xcrs);
	return code < 0 ? code : SAVE(XSAVE, KVM_GET_XSAVE, xsave);
}

static int save_vcpu(kiln_hv_vcpu *vcpu, struct kiln__buf *blob, kiln_error *err)
{
	struct fingerprint fingerprint;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events = {0};
	int code = 0;

	take_fingerprint(&fingerprint);
	kiln__blob_add(blob, FINGERPRINT, &fingerprint, sizeof(fingerprint));
	if (has_lapic(vcpu))
		code = SAVE(MP_STATE, KVM_GET_MP_STATE, mp_state);
	if (code == 0)
		code = save_cpuid(vcpu, blob, err);
	if (code == 0)
		code = save_registers(vcpu, blob, err);
	if (code == 0)
		code = save_extended(vcpu, blob, err);
	if (code == 0 && has_lapic(vcpu))
		code = SAVE(LAPIC, KVM_GET_LAPIC, lapic);
	if (code < 0)
		return code;
	save_tsc_khz(vcpu, blob);
	code = save_msrs(vcpu, blob, err);
	return code < 0 ? code : SAVE(EVENTS, KVM_GET_VCPU_EVENTS, events);
}

int kiln_hv_vcpu_save(kiln_hv_vcpu *vcpu, void **ret, size_t *ret_size, kiln_error *err)
{
	kiln__autobuf blob = KILN__BUF_INIT;
	int code = kiln__kvm_finish_access(vcpu, err);

	if (code < 0)
		return code;
	kiln__blob_begin(&blob, KILN__BLOB_VCPU);
	code = save_vcpu(vcpu, &blob, err);
	return code < 0 ? code : kiln__blob_finish(&blob, ret, ret_size, err);
}

#define CPUID_1_ECX_XSAVE (1u << 26)

static bool has_xsave(const void *blob, size_t size)
{
	size_t len = 0;
	const uint8_t *cpuid = kiln__blob_find(blob, size, CPUID, &len);

	return told(cpuid, len, &feature_words[0]) & CPUID_1_ECX_XSAVE;
}

static int load_registers(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	size_t len;
	int code = LOAD(SREGS, KVM_SET_SREGS, sregs);

	if (code == 0)
		code = LOAD(REGS, KVM_SET_REGS, regs);
	if (code == 0 && (kiln__blob_find(blob, size, XCRS, &len) || has_xsave(blob, size)))
		code = LOAD(XCRS, KVM_SET_XCRS, xcrs);
	if (code == 0)
		code = LOAD(XSAVE, KVM_SET_XSAVE, xsave);
	if (code == 0)
		code = LOAD(DEBUGREGS, KVM_SET_DEBUGREGS, debugregs);
	return code;
}

/* Whether the blob has what this kind of VM needs, and nothing that would be lost. */
static int check_irqchip(const void *blob, size_t size, enum section section, bool has,
			 kiln_error *err)
{
	size_t len;
	bool saved = kiln__blob_find(blob, size, section, &len) != NULL;

	if (saved == has)
		return 0;
	return kiln__fail(err, KILN_EINVAL, "the state is of a VM %s such an interrupt controller",
			  saved ? "with" : "without");
}

int kiln_hv_vcpu_load(kiln_hv_vcpu *vcpu, const void *blob, size_t size, kiln_error *err)
{
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
	int code = kiln__blob_check(blob, size, KILN__BLOB_VCPU, err);

	if (code == 0)
		code = check_fingerprint(blob, size, err);
	if (code == 0)
		code = check_irqchip(blob, size, LAPIC, has_lapic(vcpu), err);
	if (code == 0)
		code = kiln__kvm_finish_access(vcpu, err);
	if (code == 0)
		code = load_cpuid(vcpu, blob, size, err);
	if (code == 0)
		code = load_tsc_khz(vcpu, blob, size, err);
	if (code == 0)
		code = load_registers(vcpu, blob, size, err);
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

/* --- VMs -------------------------------------------------------------------------------------- */

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

	if (code == 0)
		code = check_irqchip(blob, size, IOAPIC, vm->irqchip == KILN_HV_IRQCHIP_FULL, err);
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
