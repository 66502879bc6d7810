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
	const char *value = kiln__posix_env(name);

	return value ? strdup(value) : NULL;
}

const char *kiln__posix_env(const char *name)
{
	return secure_getenv(name);
}

int kiln__os_data_dir(char **ret, kiln_error *err)
{
	const char *dir;
	int r = kiln__posix_own_dir("KILN_HOME", ret, err);

	if (r != 0)
		return r < 0 ? r : 0;
	/* The specification has relative paths ignored. */
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

/* It is the login's to make, who owns it and empties it: one of ours would be neither. */
static int runtime_of_login(const char *dir, char **ret, kiln_error *err)
{
	struct stat st;

	if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
		return kiln__posix_give(ret, kiln__strf("%s/kiln", dir), err);
	kiln__fail(err, KILN_ENOENT, "XDG_RUNTIME_DIR is %s, and there is no such directory", dir);
	kiln__hint(err, "unset it, or set KILN_RUNTIME_DIR to a directory for sockets");
	return KILN_ENOENT;
}

int kiln__os_runtime_dir(char **ret, kiln_error *err)
{
	kiln__autofree char *user = NULL;
	const char *dir;
	struct stat st;
	int r = kiln__posix_own_dir("KILN_RUNTIME_DIR", ret, err);

	if (r != 0)
		return r < 0 ? r : 0;
	dir = kiln__posix_absolute_env("XDG_RUNTIME_DIR");
	if (dir)
		return runtime_of_login(dir, ret, err);
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
