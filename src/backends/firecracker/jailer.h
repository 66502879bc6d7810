/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker's jailer: the directory that is the VMM's root, what is put there, and what is left
 * of it. docs/design/api-vmms.md, "The jailer".
 */
#ifndef KILN_FIRECRACKER_JAILER_H
#define KILN_FIRECRACKER_JAILER_H

#include "apivmm.h"

/* Where the VMM in the jail finds its files, by their numbers; its sockets; its log. */
#define KILN__JAIL_FILES   "/files"
#define KILN__JAIL_SOCKETS "/sockets"
#define KILN__JAIL_LOG     "/log"

struct kiln__fc_jail;

/* Refuses by key what a jailed VMM cannot have. */
int kiln__jailer_check(const struct kiln__spec *spec, kiln_error *err);

/*
 * Makes the jail's directory for the VMM that @api says, whose files are in its handles: each is a
 * mount to be, and nothing is mounted yet. KILN_EACCES if this user can make none.
 */
int kiln__jailer_prepare(struct kiln__fc_jail **ret, struct kiln__api_vmm *api, kiln_error *err);

/* Starts the VMM in it; @options are its own, NULL-terminated. */
int kiln__jailer_spawn(struct kiln__fc_jail *jail, struct kiln__api_vmm *api,
		       const char *const *options, kiln_fd console, kiln_error *err);

/* The reading end of its log; the caller's from then on. */
kiln_fd kiln__jailer_take_log(struct kiln__fc_jail *jail);

/* Kills all that is in its cgroup, if it has one. Needs no rights. */
void kiln__jailer_kill(struct kiln__fc_jail *jail);

/* The VMM has ended: removes its directory and its cgroups, as far as this process may. */
void kiln__jailer_free(struct kiln__fc_jail *jail);

#endif
