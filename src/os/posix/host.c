/* SPDX-License-Identifier: Apache-2.0 */
/* This host, as far as POSIX tells. */
#include "posix.h"

#include "buf.h"
#include "err.h"
#include "syscalls.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

KILN__SYSCALLS(clock_gettime);

static int64_t read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t kiln__os_realtime_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t kiln__os_monotonic_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t kiln__os_total_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

/* What this program is for is what the host is, or pretends to be (Rosetta does, to uname(2) too).
 */
const char *kiln__os_arch(void)
{
#if defined(__x86_64__)
	return "x86_64";
#elif defined(__aarch64__)
	return "aarch64";
#else
	return "unknown";
#endif
}

static bool is_executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int kiln__posix_give(char **ret, char *text, kiln_error *err)
{
	if (!text)
		return kiln__fail_nomem(err);
	*ret = text;
	return 0;
}

const char *kiln__posix_absolute_env(const char *name)
{
	const char *value = kiln__posix_env(name);

	return value && value[0] == '/' ? value : NULL;
}

int kiln__posix_own_dir(const char *name, char **ret, kiln_error *err)
{
	const char *value = kiln__posix_env(name);
	int r;

	if (!value || !value[0])
		return 0;
	if (value[0] != '/') {
		kiln__fail(err, KILN_EINVAL, "%s is \"%.80s\", which is not an absolute path", name,
			   value);
		kiln__hint(err, "set it to a path that begins with /, or unset it");
		return KILN_EINVAL;
	}
	r = kiln__posix_give(ret, strdup(value), err);
	return r < 0 ? r : 1;
}

int kiln__os_find_program(char **ret, const char *name, kiln_error *err)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/'))
		return is_executable(name)
			       ? kiln__posix_give(ret, strdup(name), err)
			       : kiln__fail(err, KILN_ENOENT, "%s is not a program", name);
	/* What the C library's execvp() would use. */
	if (!path)
		path = "/bin:/usr/bin";
	while (*path) {
		size_t len = strcspn(path, ":");
		kiln__autofree char *candidate = kiln__strf("%.*s/%s", (int)len, path, name);

		if (!candidate)
			return kiln__fail_nomem(err);
		/* An empty entry would mean the current directory: not searched. */
		if (len > 0 && is_executable(candidate))
			return kiln__posix_give(ret, kiln__take(candidate), err);
		path += len + (path[len] == ':');
	}
	return kiln__fail(err, KILN_ENOENT, "%s is not in the search path", name);
}
