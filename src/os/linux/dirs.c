/* SPDX-License-Identifier: Apache-2.0 */
/* Where kiln's files lie: the XDG base directory specification, version 0.8. */
#include "posix.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *kiln__os_env(const char *name)
{
	const char *value = secure_getenv(name);

	return value ? strdup(value) : NULL;
}

/* The specification has relative paths ignored. */
const char *kiln__posix_absolute_env(const char *name)
{
	const char *value = secure_getenv(name);

	return value && value[0] == '/' ? value : NULL;
}

int kiln__os_data_dir(char **ret, kiln_error *err)
{
	const char *dir = kiln__posix_absolute_env("KILN_HOME");

	if (dir)
		return kiln__posix_give(ret, kiln__strf("%s", dir), err);
	dir = kiln__posix_absolute_env("XDG_DATA_HOME");
	if (dir)
		return kiln__posix_give(ret, kiln__strf("%s/kiln", dir), err);
	dir = kiln__posix_absolute_env("HOME");
	if (dir)
		return kiln__posix_give(ret, kiln__strf("%s/.local/share/kiln", dir), err);
	kiln__fail(err, KILN_EINVAL, "no directory for durable data");
	kiln__hint(err, "set HOME, or KILN_HOME to an absolute path");
	return KILN_EINVAL;
}

int kiln__os_runtime_dir(char **ret, kiln_error *err)
{
	const char *dir = kiln__posix_absolute_env("KILN_RUNTIME_DIR");
	kiln__autofree char *user = NULL;
	struct stat st;

	if (dir)
		return kiln__posix_give(ret, kiln__strf("%s", dir), err);
	dir = kiln__posix_absolute_env("XDG_RUNTIME_DIR");
	if (dir)
		return kiln__posix_give(ret, kiln__strf("%s/kiln", dir), err);
	if (geteuid() == 0)
		return kiln__posix_give(ret, kiln__strf("/run/kiln"), err);
	/* Started by cron or su, without a login's environment: its place is known all the same. */
	user = kiln__strf("/run/user/%u", (unsigned)geteuid());
	if (!user)
		return kiln__fail_nomem(err);
	if (stat(user, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		return kiln__posix_give(ret, kiln__strf("%s/kiln", user), err);
	return kiln__posix_give(ret, kiln__strf("/tmp/kiln-%u", (unsigned)geteuid()), err);
}
