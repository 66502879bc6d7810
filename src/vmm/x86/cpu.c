/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#include "err.h"

/* Leaves (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E) and the hypervisor's (kernel
 * Documentation/virt/kvm/x86/cpuid.rst). */
#define LEAF_FEATURES   0x1u
#define LEAF_CACHE      0x4u
#define LEAF_POWER      0x6u
#define LEAF_PMU        0xau
#define LEAF_TOPOLOGY   0xbu
#define LEAF_TOPOLOGY_2 0x1fu
#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_TIMING     0x40000010u
#define LEAF_AMD_1      0x80000001u
#define LEAF_AMD_SIZES  0x80000008u
#define LEAF_AMD_CACHE  0x8000001du
#define LEAF_AMD_TOPO   0x8000001eu

#define FEATURES_ECX_MONITOR      (1u << 3)
#define FEATURES_ECX_VMX          (1u << 5)
#define FEATURES_ECX_X2APIC       (1u << 21)
#define FEATURES_ECX_TSC_DEADLINE (1u << 24)
#define FEATURES_ECX_HYPERVISOR   (1u << 31)
#define FEATURES_EDX_HTT          (1u << 28)
#define AMD_1_ECX_SVM             (1u << 2)
#define POWER_EAX_ARAT            (1u << 2) /* the APIC's timer never stops */

#define TOPOLOGY_SMT  (1u << 8)
#define TOPOLOGY_CORE (2u << 8)

#define APIC_BUS_KHZ 1000000u /* KVM's local APICs count nanoseconds */

/* SDM vol. 4, table 2-2. */
#define MSR_MISC_ENABLE   0x1a0u
#define MISC_FAST_STRINGS 0x1u
#define MSR_MTRR_DEFAULT  0x2ffu
#define MTRR_WRITE_BACK   0x806u /* enabled, default type 6 */

int kiln__cpuid_get(struct kiln__cpuid *ret, const kiln_hv *hv, kiln_error *err)
{
	int count = kiln_hv_x86_host_cpuid(hv, ret->entries, err);

	if (count < 0)
		return count;
	ret->count = (size_t)count;
	return 0;
}

/* Bits that hold the numbers from 0 to @count - 1. */
static unsigned width(unsigned count)
{
	unsigned bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

/* One thread a core, all cores in one package. */
static void set_topology(kiln_hv_x86_cpuid *e, unsigned index, unsigned count)
{
	e->edx = index;
	e->eax = e->ebx = 0;
	e->ecx = e->subleaf;
	if (e->subleaf == 0) {
		e->ebx = 1;
		e->ecx |= TOPOLOGY_SMT;
	} else if (e->subleaf == 1) {
		e->eax = width(count);
		e->ebx = count;
		e->ecx |= TOPOLOGY_CORE;
	}
}

static void adapt_features(kiln_hv_x86_cpuid *e, unsigned index, unsigned count, bool nested)
{
	e->ebx =
		(e->ebx & 0x0000ffffu) | index << 24 | (count > 1 ? (1u << width(count)) << 16 : 0);
	e->ecx |= FEATURES_ECX_HYPERVISOR | FEATURES_ECX_X2APIC | FEATURES_ECX_TSC_DEADLINE;
	e->ecx &= ~FEATURES_ECX_MONITOR;
	if (!nested)
		e->ecx &= ~FEATURES_ECX_VMX;
	e->edx &= ~FEATURES_EDX_HTT;
	if (count > 1)
		e->edx |= FEATURES_EDX_HTT;
}

/* Caches: the last level is everybody's, the others a core's own. */
static void adapt_cache(kiln_hv_x86_cpuid *e, unsigned count, bool intel)
{
	unsigned level = e->eax >> 5 & 7;
	unsigned sharing = level >= 3 ? (1u << width(count)) - 1 : 0;

	e->eax &= ~0x03ffc000u;
	e->eax |= sharing << 14;
	if (intel)
		e->eax = (e->eax & 0x03ffffffu) | ((1u << width(count)) - 1) << 26;
}

static void adapt(kiln_hv_x86_cpuid *e, unsigned index, unsigned count, bool nested)
{
	switch (e->leaf) {
	case LEAF_FEATURES:
		adapt_features(e, index, count, nested);
		break;
	case LEAF_CACHE:
	case LEAF_AMD_CACHE:
		adapt_cache(e, count, e->leaf == LEAF_CACHE);
		break;
	case LEAF_POWER:
		e->eax = POWER_EAX_ARAT;
		e->ebx = e->ecx = e->edx = 0;
		break;
	case LEAF_PMU: /* no counters: nothing would virtualize them on the way here */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case LEAF_TOPOLOGY:
	case LEAF_TOPOLOGY_2:
		set_topology(e, index, count);
		break;
	case LEAF_AMD_1:
		if (!nested)
			e->ecx &= ~AMD_1_ECX_SVM;
		break;
	case LEAF_AMD_SIZES:
		e->ecx = width(count) << 12 | (count - 1);
		break;
	case LEAF_AMD_TOPO:
		e->eax = index;
		e->ebx = index; /* a core of its own, one thread */
		e->ecx = 0;
		break;
	default:
		break;
	}
}

static kiln_hv_x86_cpuid *find(struct kiln__cpuid *cpuid, uint32_t leaf)
{
	for (size_t i = 0; i < cpuid->count; i++)
		if (cpuid->entries[i].leaf == leaf)
			return &cpuid->entries[i];
	return NULL;
}

/* How fast time stamp counter and APIC timer run, as hypervisors tell it since VMware's. */
static void add_timing(struct kiln__cpuid *cpuid, uint32_t tsc_khz)
{
	kiln_hv_x86_cpuid *hypervisor = find(cpuid, LEAF_HYPERVISOR);
	kiln_hv_x86_cpuid *timing = find(cpuid, LEAF_TIMING);

	if (!hypervisor || !tsc_khz)
		return;
	if (!timing && cpuid->count < KILN_HV_MAX_CPUID)
		timing = &cpuid->entries[cpuid->count++];
	if (!timing)
		return;
	*timing = (kiln_hv_x86_cpuid){.leaf = LEAF_TIMING, .eax = tsc_khz, .ebx = APIC_BUS_KHZ};
	if (hypervisor->eax < LEAF_TIMING)
		hypervisor->eax = LEAF_TIMING;
}

void kiln__cpuid_adapt(struct kiln__cpuid *cpuid, unsigned index, unsigned count, uint32_t tsc_khz,
		       bool nested)
{
	for (size_t i = 0; i < cpuid->count; i++)
		adapt(&cpuid->entries[i], index, count, nested);
	add_timing(cpuid, tsc_khz);
}

int kiln__cpu_init(kiln_hv_vcpu *vcpu, const struct kiln__cpuid *template, unsigned index,
		   unsigned count, kiln_error *err)
{
	static const kiln_hv_x86_msr msrs[] = {
		{MSR_MISC_ENABLE, MISC_FAST_STRINGS},
		{MSR_MTRR_DEFAULT, MTRR_WRITE_BACK},
	};
	struct kiln__cpuid cpuid = *template;
	uint32_t tsc_khz = 0;
	int r;

	kiln_hv_x86_tsc_khz(vcpu, &tsc_khz, NULL); /* else it stays 0: unknown */
	kiln__cpuid_adapt(&cpuid, index, count, tsc_khz, false);
	r = kiln_hv_x86_set_cpuid(vcpu, cpuid.entries, cpuid.count, err);
	return r < 0 ? r : kiln_hv_x86_set_msrs(vcpu, msrs, sizeof(msrs) / sizeof(msrs[0]), err);
}
