/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a jailed runner could not remove: the jail of a VMM, and its cgroups. The next command that
 * has the right to does, with GUARD held. The record lies in the lock file, where a runner that its
 * guest has taken over cannot write while Landlock holds it; what it says is not trusted.
 */
#include "vmdir_internal.h"

#include "err.h"
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

static bool has_leaves(kiln_fd lock)
{
	char first = '\0';

	kiln__os_pread_full(lock, &first, 1, KILN__VM_LEAVES_AT, NULL);
	return first != '\0';
}

int kiln__vmdir_remove_leaves(const struct kiln__vmdir *dir, kiln_fd lock, int timeout_ms,
			      kiln_error *err)
{
	char text[KILN__VM_LEAVES_SIZE + 1];
	kiln_error why = KILN_ERROR_INIT;
	int r;

	if (!has_leaves(lock))
		return 0;
	read_leaves(lock, text);
	r = kiln__os_remove_leaves(text, dir->id, timeout_ms, &why);
	if (r == 0 || r == KILN_EFORMAT)
		kiln__os_pwrite_full(lock, "", 1, KILN__VM_LEAVES_AT, NULL);
	if (r == 0)
		return 0;
	kiln__log(&dir->home->log, KILN_LOG_WARN, "VM %s: what its last run left: %s", dir->id,
		  why.message);
	if (r == KILN_EFORMAT) /* there is nothing to be removed by that, now or later */
		return 0;
	kiln__fail(err, KILN_EBUSY, "what its last run left is not removed yet: %s", why.message);
	if (r == KILN_EACCES)
		kiln__hint(err, "this takes the rights of who started it: try again as that user");
	else
		kiln__hint(err, "%s", why.hint[0] ? why.hint : "remove it, and try again");
	return KILN_EBUSY;
}
