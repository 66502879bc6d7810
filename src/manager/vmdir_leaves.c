/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a jailed runner could not remove: the jail of a VMM, and its cgroups. The next command that
 * has the right to does, with GUARD held. The record lies in the lock file, where a runner that its
 * guest has taken over cannot write while Landlock holds it; what it says is not trusted.
 */
#include "vmdir_internal.h"

#include "leaves.h"
#include "log.h"
#include "os.h"
#include "vmfiles.h"

#include <string.h>

static void read_leaves(kiln_fd lock, char text[KILN__VM_LEAVES_SIZE + 1])
{
	memset(text, 0, KILN__VM_LEAVES_SIZE + 1);
	kiln__os_pread_full(lock, text, KILN__VM_LEAVES_SIZE, KILN__VM_LEAVES_AT, NULL);
}

bool kiln__vmdir_has_leaves(kiln_fd lock)
{
	char first = '\0';

	kiln__os_pread_full(lock, &first, 1, KILN__VM_LEAVES_AT, NULL);
	return first != '\0';
}

void kiln__vmdir_remove_leaves(const struct kiln__vmdir *dir, kiln_fd lock)
{
	char text[KILN__VM_LEAVES_SIZE + 1];

	if (!kiln__vmdir_has_leaves(lock))
		return;
	read_leaves(lock, text);
	if (kiln__os_remove_leaves(text, dir->id))
		kiln__os_pwrite_full(lock, "", 1, KILN__VM_LEAVES_AT, NULL);
	else
		kiln__log(&dir->home->log, KILN_LOG_WARN,
			  "VM %s: its jail is not removed yet: this takes who made it", dir->id);
}
