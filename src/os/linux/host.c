/* SPDX-License-Identifier: Apache-2.0 */
/* This host and its processes: randomness, processors, memory, usage. */
#include "os.h"

#include "buf.h"
#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

KILN__SYSCALLS(getrandom, clock_gettime);

int kiln__os_exe_path(char **ret, kiln_error *err)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

	if (n < 0)
		return kiln__fail_errno(err, errno, "cannot find this executable");
	if ((size_t)n == sizeof(path))
		return kiln__fail(err, KILN_EOVERFLOW, "this executable's path is too long");
	path[n] = '\0';
	*ret = strdup(path);
	return *ret ? 0 : kiln__fail_nomem(err);
}

void kiln__os_random(void *bytes, size_t len)
{
	char *at = bytes;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			abort(); /* going on with no randomness is worse */
		at += n;
		len -= (size_t)n;
	}
}

unsigned kiln__os_cpu_count(void)
{
	cpu_set_t set;

	/* Those this process may use; more than the set holds is not worth an allocation. */
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	return 1;
}

/*
 * The CPU clock of a process (linux/posix-timers_types.h: the number's complement above
 * three bits, the kind CPUCLOCK_SCHED). clock_getcpuclockid() would give the same, by a
 * system call more, which a jail need not have.
 */
#define CPU_CLOCK(pid) ((clockid_t)(~(unsigned)(pid) << 3 | 2))

/* The value in bytes of a line "Name:   123 kB". */
static bool find_kib(const char *text, const char *name, uint64_t *ret)
{
	const char *line = strstr(text, name);
	char *end;
	unsigned long long value;

	if (!line)
		return false;
	value = strtoull(line + strlen(name), &end, 10);
	if (strncmp(end, " kB", 3) != 0 || value > UINT64_MAX / 1024)
		return false;
	*ret = value * 1024;
	return true;
}

/*
 * From statm, in pages: size, resident, and what of that is of files or shared. Anybody
 * may read it, and it costs the kernel nothing; what is mapped privately of a file and
 * not written to counts as shared.
 */
static int rough_usage(int64_t pid, struct kiln__os_usage *usage, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	unsigned long long resident;
	unsigned long long shared;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%lld/statm", (long long)pid);
	r = kiln__os_read_file(path, 4096, &text, NULL, err);
	if (r < 0)
		return r;
	if (sscanf(text, "%*u %llu %llu", &resident, &shared) != 2 || resident == 0 ||
	    shared > resident)
		return kiln__fail(err, KILN_ENOENT, "process %lld has no memory any more",
				  (long long)pid);
	usage->resident = resident * page;
	usage->private_bytes = (resident - shared) * page;
	return 0;
}

/*
 * From smaps_rollup, exact, which takes the right to trace the process: inside a jail there is
 * none.
 */
static int memory_usage(int64_t pid, struct kiln__os_usage *usage, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	uint64_t clean;
	uint64_t dirty;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%lld/smaps_rollup", (long long)pid);
	r = kiln__os_read_file(path, 65536, &text, NULL, err);
	if (r == KILN_EACCES)
		return rough_usage(pid, usage, err);
	if (r < 0)
		return r;
	if (!find_kib(text, "\nRss:", &usage->resident) ||
	    !find_kib(text, "\nPrivate_Clean:", &clean) ||
	    !find_kib(text, "\nPrivate_Dirty:", &dirty))
		return kiln__fail(err, KILN_ENOENT, "process %lld has no memory any more",
				  (long long)pid);
	usage->private_bytes = clean + dirty;
	return 0;
}

int kiln__os_process_usage(int64_t pid, struct kiln__os_usage *ret, kiln_error *err)
{
	struct kiln__os_usage usage = {0};
	struct timespec time;
	int r;

	if (pid <= 0 || pid > INT32_MAX)
		return kiln__fail(err, KILN_EINVAL, "%lld is not a process", (long long)pid);
	if (clock_gettime(CPU_CLOCK(pid), &time) < 0)
		return kiln__fail_errno(err, errno == EINVAL ? ESRCH : errno,
					"cannot measure process %lld", (long long)pid);
	usage.cpu_ns = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
	r = memory_usage(pid, &usage, err);
	if (r < 0)
		return r;
	*ret = usage;
	return 0;
}
