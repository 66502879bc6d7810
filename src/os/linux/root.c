/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root directory of the process's own: a mount namespace in which nothing exists but the
 * directories that it keeps, of which the first is the root and the others lie in it: no file
 * system is made for that, and a path takes one step. What it adds to Landlock: sockets. connect(2)
 * to a path is nobody's business but the socket file's mode, so whoever took over this process
 * could talk to every service of its user that listens at one. And it is there where Landlock is
 * not, but for one way out: real root, in no user namespace, may follow /proc/PID/root of a process
 * of its own user outside that can be traced, as a VMM's.
 *
 * mount_namespaces(7), pivot_root(2), user_namespaces(7).
 */
#include "jailroot.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCKED ((unsigned long)(MS_NOSUID | MS_NODEV | MS_NOEXEC))

static int write_line(const char *path, const char *text, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return kiln__fail_errno(err, errno, "cannot write %s", path);
	return 0;
}

/*
 * Who may not make a mount namespace may have one in a user namespace, where he
 * stays who he is: his files must go on to be his.
 */
static int unshare_as_user(kiln_error *err)
{
	char uid_map[64];
	char gid_map[64];
	int r;

	snprintf(uid_map, sizeof(uid_map), "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
	snprintf(gid_map, sizeof(gid_map), "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return kiln__fail_errno(err, errno, "cannot make a user namespace");
	r = write_line("/proc/self/setgroups", "deny", err);
	if (r == 0)
		r = write_line("/proc/self/uid_map", uid_map, err);
	return r < 0 ? r : write_line("/proc/self/gid_map", gid_map, err);
}

static int unshare_mounts(kiln_error *err)
{
	int r = 0;

	if (unshare(CLONE_NEWNS) < 0)
		r = errno == EPERM ? unshare_as_user(err)
				   : kiln__fail_errno(err, errno, "cannot make a mount namespace");
	if (r == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		r = kiln__fail_errno(err, errno, "cannot take mounts as its own");
	return r;
}

/* Where a directory of the old root is found in the new one. */
static const char *place_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

static int bind_at(const char *path, const char *place)
{
	/* Without what is mounted below, but in a user namespace, where it cannot be uncovered. */
	int r = mount(path, place, NULL, MS_BIND, NULL);

	return r < 0 && errno == EINVAL ? mount(path, place, NULL, MS_BIND | MS_REC, NULL) : r;
}

static int restrict_at(const char *place, unsigned long flags)
{
	return mount(NULL, place, NULL, MS_REMOUNT | MS_BIND | LOCKED | flags, NULL);
}

/* With what is mounted below it; before Linux 5.12 itself alone. */
static int make_readonly(const char *place)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int r = (int)syscall(SYS_mount_setattr, AT_FDCWD, place, AT_RECURSIVE, &attr, sizeof(attr));

	return r < 0 && errno == ENOSYS ? restrict_at(place, MS_RDONLY) : r;
}

/* Puts @path into the current directory, which is to be the root: its place is made, once. */
static int keep(const char *path, bool readonly, kiln_error *err)
{
	const char *place = place_of(path);
	int r = bind_at(path, place);

	if (r < 0 && errno == ENOENT && mkdir(place, 0700) == 0)
		r = bind_at(path, place);
	if (r < 0 || (readonly && make_readonly(place) < 0))
		return kiln__fail_errno(err, errno, "cannot keep %s", path);
	return 0;
}

/* Nothing in the new root is executed, no device opened: at once, or before Linux 5.12 one by one.
 */
static int restrict_all(const struct kiln__jail *jail, kiln_error *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
	};
	int r = (int)syscall(SYS_mount_setattr, AT_FDCWD, ".", AT_RECURSIVE, &attr, sizeof(attr));

	if (r < 0 && errno == ENOSYS) {
		r = restrict_at(".", 0);
		for (size_t i = 1; r == 0 && i < jail->writable_count; i++)
			r = restrict_at(place_of(jail->writable[i]), 0);
	}
	return r < 0 ? kiln__fail_errno(err, errno, "cannot close the root directory") : 0;
}

/* Mounts the first directory upon itself and the others into it; then it is the root. */
static int build(const struct kiln__jail *jail, bool *ret_open, kiln_error *err)
{
	const char *root = jail->writable[0];
	int r = 0;

	if (bind_at(root, root) < 0)
		return kiln__fail_errno(err, errno, "cannot mount a root directory");
	if (chdir(root) < 0)
		r = kiln__fail_errno(err, errno, "cannot enter a root directory");
	for (size_t i = 1; r == 0 && i < jail->writable_count; i++)
		r = keep(jail->writable[i], false, err);
	for (size_t i = 0; r == 0 && i < jail->readable_count; i++)
		r = keep(jail->readable[i], true, err);
	if (r == 0)
		r = restrict_all(jail, err);
	/* pivot_root(2): the old root lies upon the new one then, and is let go. */
	if (r == 0 && syscall(SYS_pivot_root, ".", ".") < 0)
		r = kiln__fail_errno(err, errno, "cannot change the root directory");
	if (r < 0) {
		if (chdir("/") < 0 || umount2(root, MNT_DETACH) < 0)
			kiln__hint(err, "and %s is mounted twice now", root);
		return r;
	}
	*ret_open = umount2(".", MNT_DETACH) < 0;
	return *ret_open ? kiln__fail_errno(err, errno, "cannot let the old root directory go") : 0;
}

static int check(const struct kiln__jail *jail, kiln_error *err)
{
	bool absolute = jail->writable_count > 0;

	for (size_t i = 0; i < jail->writable_count; i++)
		absolute &= jail->writable[i][0] == '/';
	for (size_t i = 0; i < jail->readable_count; i++)
		absolute &= jail->readable[i][0] == '/';
	return absolute ? 0
			: kiln__fail(err, KILN_EINVAL,
				     "a root directory needs directories by absolute paths");
}

int kiln__linux_own_root(const struct kiln__jail *jail, bool *ret_open, kiln_error *err)
{
	int r = check(jail, err);

	*ret_open = false;
	if (r == 0)
		r = unshare_mounts(err);
	return r < 0 ? r : build(jail, ret_open, err);
}
