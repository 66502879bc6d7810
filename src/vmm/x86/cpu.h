/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an x86-64 processor of the built-in machine is: what CPUID tells (the host's, with this
 * machine's topology, and without what makes no sense in it), and the MSRs that firmware would have
 * set.
 */
#ifndef KILN_VMM_X86_CPU_H
#define KILN_VMM_X86_CPU_H

#include <kiln/hv_x86.h>

#include <stdbool.h>
#include <stdint.h>

#define KILN__MAX_VCPUS 64

/* The template, the same for all processors of a VM. */
struct kiln__cpuid {
	kiln_hv_x86_cpuid entries[KILN_HV_MAX_CPUID];
	size_t count;
};

/* What this host offers, fetched once a VM. */
int kiln__cpuid_get(struct kiln__cpuid *ret, const kiln_hv *hv, kiln_error *err);

/*
 * Adapts the template to processor @index of @count, whose APIC id is @index. @tsc_khz: 0 if
 * unknown.
 * @nested: the guest may be a hypervisor. Pure.
 */
void kiln__cpuid_adapt(struct kiln__cpuid *cpuid, unsigned index, unsigned count, uint32_t tsc_khz,
		       bool nested);

/* Sets up a processor that was just made. On its thread. */
int kiln__cpu_init(kiln_hv_vcpu *vcpu, const struct kiln__cpuid *template, unsigned index,
		   unsigned count, kiln_error *err);

#endif
