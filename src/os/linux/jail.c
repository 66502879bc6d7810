/* SPDX-License-Identifier: Apache-2.0 */
/* prctl(2), capabilities(7), landlock(7), seccomp(2). */
#include "jail.h"

#include "err.h"
#include "jailroot.h"
#include "kept.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rights that came after the first version of Landlock; older kernel headers lack the names. */
#define RIGHTS_V1       ((UINT64_C(1) << 13) - 1)
#define RIGHT_REFER     (UINT64_C(1) << 13) /* version 2 */
#define RIGHT_TRUNCATE  (UINT64_C(1) << 14) /* version 3 */
#define RIGHT_IOCTL_DEV (UINT64_C(1) << 15) /* version 5 */
#define NET_BIND        UINT64_C(1)         /* version 4 */
#define NET_TCP         UINT64_C(3)         /* bind and connect, version 4 */
#define SCOPE_ABSTRACT  UINT64_C(1)         /* no abstract sockets of others, version 6 */

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_RIGHTS                                                                               \
	(READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |            \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | RIGHT_TRUNCATE)

/*
 * struct landlock_ruleset_attr as of version 6; older kernels are told its first members only.
 * Not scoped: signals, since the VMM, to be killed one day, is not of the domain.
 */
struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

static size_t attr_size(long version)
{
	if (version >= 6)
		return sizeof(struct ruleset_attr);
	return version >= 4 ? offsetof(struct ruleset_attr, scoped)
			    : offsetof(struct ruleset_attr, handled_access_net);
}

static uint64_t rights_of(int version)
{
	uint64_t rights = RIGHTS_V1;

	if (version >= 2)
		rights |= RIGHT_REFER;
	if (version >= 3)
		rights |= RIGHT_TRUNCATE;
	if (version >= 5)
		rights |= RIGHT_IOCTL_DEV;
	return rights;
}

static int allow_beneath(int ruleset, const char *const *paths, size_t count, uint64_t rights,
			 kiln_error *err)
{
	for (size_t i = 0; i < count; i++) {
		kiln__autoclose kiln_fd dir = open(paths[i], O_PATH | O_CLOEXEC);
		const struct landlock_path_beneath_attr rule = {
			.allowed_access = rights,
			.parent_fd = dir,
		};

		if (dir < 0 ||
		    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
			return kiln__fail_errno(err, errno, "cannot confine this process to %s",
						paths[i]);
	}
	return 0;
}

static uint64_t rights_at(unsigned rights)
{
	uint64_t all = 0;

	if (rights & KILN__JAIL_READ)
		all |= READ_RIGHTS;
	if (rights & KILN__JAIL_READ_FILE)
		all |= LANDLOCK_ACCESS_FS_READ_FILE;
	if (rights & KILN__JAIL_MAKE)
		all |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
		       LANDLOCK_ACCESS_FS_MAKE_DIR | RIGHT_TRUNCATE;
	if (rights & KILN__JAIL_REMOVE)
		all |= LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR;
	return all;
}

static int allow_places(int ruleset, const struct kiln__jail *jail, uint64_t handled,
			kiln_error *err)
{
	for (size_t i = 0; i < jail->place_count; i++) {
		const struct landlock_path_beneath_attr rule = {
			.allowed_access = rights_at(jail->places[i].rights) & handled,
			.parent_fd = jail->places[i].at,
		};

		if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
			return kiln__fail_errno(err, errno, "cannot confine this process to fd %d",
						jail->places[i].at);
	}
	return 0;
}

/*
 * What was made the root contains all else: one rule for it, by which its own mounts, read-only
 * ones among them, are no less themselves.
 */
static int allow_paths(int ruleset, const struct kiln__jail *jail, bool own_root, uint64_t handled,
		       kiln_error *err)
{
	const char *const root[] = {"/"};
	int r;

	if (own_root)
		return allow_beneath(ruleset, root, 1, WRITE_RIGHTS & handled, err);
	r = allow_beneath(ruleset, jail->writable, jail->writable_count, WRITE_RIGHTS & handled,
			  err);
	if (r == 0)
		r = allow_beneath(ruleset, jail->readable, jail->readable_count, READ_RIGHTS, err);
	return r < 0 ? r : allow_places(ruleset, jail, handled, err);
}

static int enter_landlock(const struct kiln__jail *jail, bool own_root, int *ret_version,
			  kiln_error *err)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset_attr attr = {
		.handled_access_net = jail->network ? NET_BIND : NET_TCP,
		.scoped = SCOPE_ABSTRACT,
	};
	kiln__autoclose kiln_fd ruleset = KILN_FD_NONE;
	int r;

	*ret_version = 0;
	if (version < 1) /* no such kernel, or it was switched off at boot */
		return 0;
	attr.handled_access_fs = rights_of((int)version);
	ruleset = (kiln_fd)syscall(SYS_landlock_create_ruleset, &attr, attr_size(version), 0);
	if (ruleset < 0)
		return kiln__fail_errno(err, errno, "cannot make a Landlock ruleset");
	r = allow_paths(ruleset, jail, own_root, attr.handled_access_fs, err);
	if (r < 0)
		return r;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		return kiln__fail_errno(err, errno, "cannot enter a Landlock domain");
	*ret_version = (int)version;
	return 0;
}

static int drop_capabilities(const struct kiln__jail *jail, kiln_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	uint32_t kept = 0;

	if (jail->reads_all)
		kept |= 1u << CAP_DAC_READ_SEARCH;
	if (jail->kills_all)
		kept |= 1u << CAP_KILL;
	if (kept && syscall(SYS_capget, &header, data))
		return kiln__fail_errno(err, errno, "cannot ask for capabilities");
	kept &= data[0].permitted;
	data[0] = (struct __user_cap_data_struct){.permitted = kept, .effective = kept};
	data[1] = (struct __user_cap_data_struct){0};
	/* Ambient ones go by themselves: each would have to be inheritable (capabilities(7)). */
	if (syscall(SYS_capset, &header, data))
		return kiln__fail_errno(err, errno, "cannot give up capabilities");
	return 0;
}

static int enter_seccomp(const struct kiln__jail_filter *filter, kiln_error *err)
{
	const struct sock_fprog program = {
		.len = (unsigned short)filter->count,
		.filter = (struct sock_filter *)(uintptr_t)filter->program,
	};

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
		return 0;
	kiln__fail_errno(err, errno, "cannot filter system calls");
	kiln__hint(err, "kiln needs a kernel with CONFIG_SECCOMP_FILTER");
	return KILN_ENOTSUP;
}

size_t kiln__os_jail_begin(void)
{
	size_t seed;

	/* One heap, also for the threads of vCPUs, which make a few objects each. */
	mallopt(M_ARENA_MAX, 1);
	kiln__linux_take_kept(NULL); /* while they are free; what fails, fails again */
	/* libuv from 1.45 on would go by rings, past the filter that is to come. */
	setenv("UV_USE_IO_URING", "0", 1);
	memcpy(&seed, (const void *)getauxval(AT_RANDOM), sizeof(seed));
	return seed;
}

int kiln__os_jail(const struct kiln__jail *jail, struct kiln__jail_report *ret, kiln_error *err)
{
	bool open = false;
	int r;

	*ret = (struct kiln__jail_report){.why_not = KILN_ERROR_INIT};
	r = kiln__linux_take_kept(err);
	if (r < 0)
		return r;
	/* First, since the rest takes away what it needs: capabilities, its own files in /proc. */
	ret->own_root = !jail->keeps_root && kiln__linux_own_root(jail, &open, &ret->why_not) == 0;
	if (open) {
		if (err)
			*err = ret->why_not;
		return ret->why_not.code;
	}
	/* What is not dumpable leaves no core file either, whatever the limit (core(5)). */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return kiln__fail_errno(err, errno, "cannot give up privileges");
	r = enter_landlock(jail, ret->own_root, &ret->landlock, err);
	if (r == 0)
		r = drop_capabilities(jail, err);
	if (r == 0)
		r = enter_seccomp(jail->filter, err);
	return r;
}

kiln_fd kiln__os_jail_place(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? KILN_FD_NONE : fd;
}
