/* SPDX-License-Identifier: Apache-2.0 */
/* What Cloud Hypervisor is asked to change its running machine. Pure functions. */
#ifndef KILN_CLOUD_HYPERVISOR_CHANGE_H
#define KILN_CLOUD_HYPERVISOR_CHANGE_H

#include "apiconfig.h"
#include "apivmm.h"

#define KILN__CLOUD_HYPERVISOR_NMI            39000
#define KILN__CLOUD_HYPERVISOR_RESIZE_DISK    50000
#define KILN__CLOUD_HYPERVISOR_ADD_VHOST_USER 51000

/* Of the kinds of changes, and of devices to add: what backend.h calls so. */
#define KILN__CLOUD_HYPERVISOR_CHANGES                                                             \
	(1u << KILN_CHANGE_ADD | 1u << KILN_CHANGE_REMOVE | 1u << KILN_CHANGE_RESIZE_DISK |        \
	 1u << KILN_CHANGE_RESIZE_ZONE | 1u << KILN_CHANGE_NMI | 1u << KILN_CHANGE_DUMP |          \
	 1u << KILN_CHANGE_RESET)
extern const char *const kiln__cloud_hypervisor_devices[];

/* What of this VMM and this machine decides on it. */
struct kiln__cloud_hypervisor_facts {
	unsigned version;     /* as kiln__api_version() */
	bool dumps;           /* vmm.ping says so ("guest_debug") */
	bool networked;       /* else the VMM is in a network namespace of its own */
	const json_t *config; /* of vm.create */
};

/*
 * The request that does @change, into @steps; @parts as backend.h has it. Refused by name is what
 * this version, or this machine, cannot do.
 */
int kiln__cloud_hypervisor_change(const struct kiln__cloud_hypervisor_facts *facts,
				  const kiln_change *change, const struct kiln__spec *parts,
				  struct kiln__api_steps *steps, kiln_error *err);

/* The same of kiln_machine_update(). */
int kiln__cloud_hypervisor_resize(const struct kiln__cloud_hypervisor_facts *facts,
				  const kiln_update *update, struct kiln__api_steps *steps,
				  kiln_error *err);

/* A paused guest's memory and state into @directory, and on from there. */
void kiln__cloud_hypervisor_snapshot(const char *directory, struct kiln__api_steps *steps);
void kiln__cloud_hypervisor_restore(const char *directory, struct kiln__api_steps *steps);

#endif
