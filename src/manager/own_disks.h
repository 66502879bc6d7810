/* SPDX-License-Identifier: Apache-2.0 */
/* The disks that kiln itself puts into a machine: the seed and named volumes. */
#ifndef KILN_MANAGER_OWN_DISKS_H
#define KILN_MANAGER_OWN_DISKS_H

#include <kiln/error.h>

#include "home.h"
#include "spec.h"

#include <jansson.h>

/* Whose they are: what of a VM must be known for it. */
struct kiln__own_disks {
	const struct kiln__home *home;
	const char *id;
	const char *name;  /* of the VM, or NULL */
	const char *dir;   /* of the VM: what is the VM's alone lies there */
	const char *guest; /* kiln-guest's path, for a seed; or NULL */
};

/*
 * Makes what is to be made, and adds to @resolved "disks", a list of {path, serial, readonly}.
 * Blocks, for milliseconds.
 */
int kiln__own_disks_make(const struct kiln__own_disks *own, struct kiln__spec *spec,
			 json_t *resolved, kiln_error *err);

#endif
