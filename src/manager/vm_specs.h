/* SPDX-License-Identifier: Apache-2.0 */
/* What all VMs of a home have, for who asks whose a disk or a volume is. */
#ifndef KILN_MANAGER_VM_SPECS_H
#define KILN_MANAGER_VM_SPECS_H

#include <kiln/error.h>

#include "home.h"
#include "os.h"
#include "spec.h"

#include <stdbool.h>

/* Of one VM: valid during the call. */
struct kiln__vm_spec {
	const char *id;
	const char *name; /* or the first digits of its id */
	bool alive;
	const struct kiln__spec *spec;
};

/* Calls @fn for each VM whose configuration can be read; a result other than 0 ends it and is the
 * result. */
int kiln__vm_specs(const struct kiln__home *home,
		   int (*fn)(void *data, const struct kiln__vm_spec *vm, kiln_error *err),
		   void *data, kiln_error *err);

/* Who has a file as a disk, root or volume. */
struct kiln__disk_users {
	char first[64]; /* the name of one of those that live; "" if there is none */
	bool writes;    /* and it may write to it */
	size_t alive;
	size_t all; /* those that do not live counted too */
};

/* Without the VM @but, an id or NULL. */
int kiln__disk_users(const struct kiln__home *home, const struct kiln__os_stat *file,
		     const char *but, struct kiln__disk_users *ret, kiln_error *err);

#endif
