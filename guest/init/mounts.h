/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_MOUNTS_H
#define KILN_GUEST_MOUNTS_H

#include "agentmsg.h"

#include <kiln/error.h>

/* /dev, /proc, /sys: what looking for devices needs. */
int mount_early(kiln_error *err);

/* What is mounted beneath those: terminals, shared memory, cgroups; and /dev's usual links. */
int mount_below(kiln_error *err);

/* /run and /tmp, in the final root. */
int mount_run(kiln_error *err);

/* A mount that SETUP asks for. */
int mount_extra(const struct kiln__agent_mount *mount, kiln_error *err);

/* Makes an ext4 file system as large as its device. */
int grow_ext4(const char *device, const char *mounted_at, kiln_error *err);

/* mkdir -p; what exists is fine. */
int make_directories(const char *path, kiln_error *err);

/* Unmounts all that can be, makes read-only what cannot. */
void unmount_all(void);

#endif
