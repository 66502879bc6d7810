/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named volumes: HOME/volumes/NAME, each a disk with an ext4 file system on it, sparse, kept until
 * it is removed.
 *
 * One appears whole, by a link to a file made aside. Whoever runs a VM with it holds a lock on the
 * file (shared where it only reads), which is what "in use" means in the end; names of users are
 * told from the VMs' configurations. Any thread; blocks for milliseconds.
 */
#ifndef KILN_MANAGER_VOLUME_H
#define KILN_MANAGER_VOLUME_H

#include <kiln/error.h>

#include "home.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KILN__VOLUME_SIZE (UINT64_C(16) << 30) /* sparse: a bound, not a cost */

/* Malloc'ed; NULL when out of memory. */
char *kiln__volume_path(const struct kiln__home *home, const char *name);

/* Makes one of @size bytes (0: KILN__VOLUME_SIZE). KILN_EEXIST if there is one of that name. */
int kiln__volume_create(const struct kiln__home *home, const char *name, uint64_t size,
			kiln_error *err);

/*
 * The path of the file of the volume @name, made if it is missing and @make is set, else
 * KILN_ENOENT. KILN_EINVAL where @size is not 0 and it has another.
 */
int kiln__volume_get(const struct kiln__home *home, const char *name, uint64_t size, bool make,
		     char **ret_path, kiln_error *err);

/*
 * KILN_EBUSY, naming the volume and who has it, if another VM than @id that is alive would not let
 * this one have it: two may if both only read.
 */
int kiln__volume_check_free(const struct kiln__home *home, const char *name, const char *id,
			    bool readonly, kiln_error *err);

struct kiln__volume_info {
	const char *name;
	const char *path;
	uint64_t size;
	uint64_t allocated;
	const char *user; /* one of the VMs that live and have it, or "" */
	size_t vms;       /* how many have it in their configuration */
};

/* One, or with @name NULL each, by name. What @fn returns other than 0 ends it. */
int kiln__volume_each(const struct kiln__home *home, const char *name,
		      int (*fn)(void *data, const struct kiln__volume_info *info, kiln_error *err),
		      void *data, kiln_error *err);

/*
 * KILN_EBUSY if a VM that is alive has it, or, without @force, any VM. KILN_ENOENT: there is none.
 */
int kiln__volume_remove(const struct kiln__home *home, const char *name, bool force,
			kiln_error *err);

#endif
