/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process of macOS gives up by itself: core files. Files and system calls it keeps, and says
 * so.
 */
#include "jail.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <sys/resource.h>

size_t kiln__os_jail_begin(void)
{
	size_t seed;

	kiln__os_random(&seed, sizeof(seed));
	return seed;
}

int kiln__os_jail(const struct kiln__jail *jail, struct kiln__jail_report *ret, kiln_error *err)
{
	const struct rlimit none = {0, 0};

	(void)jail;
	*ret = (struct kiln__jail_report){.landlock = 0};
	kiln__fail(&ret->why_not, KILN_ENOTSUP, "processes of macOS are not confined by kiln yet");
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return kiln__fail_errno(err, errno, "forgoing core files");
	return 0;
}
