/* SPDX-License-Identifier: Apache-2.0 */
/* This host, its processes and its directories. */
#include "posix.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <libproc.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <mach/mach_time.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int kiln__os_exe_path(char **ret, kiln_error *err)
{
	char path[PATH_MAX];
	uint32_t size = sizeof(path);
	char *real;

	if (_NSGetExecutablePath(path, &size) != 0)
		return kiln__fail(err, KILN_EOVERFLOW, "this executable's path is too long");
	real = realpath(path, NULL);
	if (!real)
		return kiln__fail_errno(err, errno, "cannot find this executable");
	*ret = real;
	return 0;
}

void kiln__os_random(void *bytes, size_t len)
{
	arc4random_buf(bytes, len);
}

unsigned kiln__os_cpu_count(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count > 0 ? (unsigned)count : 1;
}

int kiln__os_process_usage(int64_t pid, struct kiln__os_usage *ret, kiln_error *err)
{
	struct rusage_info_v2 info;
	mach_timebase_info_data_t base;

	if (pid <= 0 || pid > INT32_MAX)
		return kiln__fail(err, KILN_EINVAL, "%lld is not a process", (long long)pid);
	if (proc_pid_rusage((int)pid, RUSAGE_INFO_V2, (rusage_info_t *)&info) != 0)
		return kiln__fail_errno(err, errno, "cannot measure process %lld", (long long)pid);
	/*
	 * Its times are in ticks of the absolute clock, which are no nanoseconds on Apple silicon.
	 */
	mach_timebase_info(&base);
	*ret = (struct kiln__os_usage){
		.cpu_ns = (info.ri_user_time + info.ri_system_time) * base.numer / base.denom,
		.resident = info.ri_resident_size,
		.private_bytes = info.ri_phys_footprint,
	};
	return 0;
}

char *kiln__os_env(const char *name)
{
	const char *value = kiln__posix_env(name);

	return value ? strdup(value) : NULL;
}

const char *kiln__posix_env(const char *name)
{
	return issetugid() ? NULL : getenv(name);
}

int kiln__os_data_dir(char **ret, kiln_error *err)
{
	const char *dir;
	int r = kiln__posix_own_dir("KILN_HOME", ret, err);

	if (r != 0)
		return r < 0 ? r : 0;
	dir = kiln__posix_absolute_env("HOME");
	if (dir)
		return kiln__posix_give(ret, kiln__strf("%s/Library/Application Support/kiln", dir),
					err);
	kiln__fail(err, KILN_EINVAL, "no directory for durable data");
	kiln__hint(err, "set HOME, or KILN_HOME to an absolute path");
	return KILN_EINVAL;
}

int kiln__os_runtime_dir(char **ret, kiln_error *err)
{
	char user[PATH_MAX];
	size_t len;
	int r = kiln__posix_own_dir("KILN_RUNTIME_DIR", ret, err);

	if (r != 0)
		return r < 0 ? r : 0;
	/* The user's own temporary directory, emptied at boot: confstr(3). It ends with a slash. */
	len = confstr(_CS_DARWIN_USER_TEMP_DIR, user, sizeof(user));
	if (len == 0 || len > sizeof(user))
		return kiln__fail(err, KILN_ENOENT, "this user has no temporary directory");
	return kiln__posix_give(ret, kiln__strf("%skiln", user), err);
}
