/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts that exist nowhere yet: a file or directory as a mount of its own, by a descriptor, which
 * goes away with that unless somebody attaches it (struct kiln__spawn, "mounts"). So nothing is
 * mounted where others see it, and nothing is left of it, whoever is killed. Linux 5.12, and the
 * right to mount.
 */
#ifndef KILN_OS_MOUNT_H
#define KILN_OS_MOUNT_H

#include <kiln/error.h>

#include "fd.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * For a mount in which what one user and group own is seen as another's: a descriptor of a user
 * namespace that says so.
 */
struct kiln__id_map {
	uint32_t from_user;
	uint32_t to_user;
	uint32_t from_group;
	uint32_t to_group;
};
int kiln__os_id_map(kiln_fd *ret, const struct kiln__id_map *map, kiln_error *err);

/*
 * The open file or directory @file as a mount. @id_map: as above, or KILN_FD_NONE. KILN_ENOTSUP:
 * this kernel or the file's file system cannot do that.
 */
int kiln__os_clone_mount(kiln_fd *ret, kiln_fd file, bool readonly, kiln_fd id_map,
			 kiln_error *err);

#endif
