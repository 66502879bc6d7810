/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root directory of the process's own: a mount namespace in which nothing exists but the
 * directories that it keeps, under their own names. What it adds to Landlock: sockets.
 * connect(2) to a path is nobody's business but the socket file's mode, so whoever took
 * over this process could talk to every service of its user that listens at one. And it
 * is there where Landlock is not.
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

/* Makes the directory @path, absolute, below the current one, which is to be its root. */
static int make_place(const char *path, kiln_error *err)
{
	kiln__autofree char *place = kiln__strf(".%s/", path);

	if (!place)
		return kiln__fail_nomem(err);
	for (char *slash = strchr(place + 2, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(place, 0755) < 0 && errno != EEXIST)
			return kiln__fail_errno(err, errno, "cannot make %s", path);
		*slash = '/';
	}
	return 0;
}

/* A directory that stays: by descriptor, since the new root is mounted over one of them. */
struct kept {
	const char *path;
	unsigned long flags;
	kiln_fd fd;
};

static int keep(const struct kept *kept, kiln_error *err)
{
	kiln__autofree char *place = kiln__strf(".%s", kept->path);
	char source[32];
	int r;

	if (!place)
		return kiln__fail_nomem(err);
	snprintf(source, sizeof(source), "/proc/self/fd/%d", kept->fd);
	/* Without what is mounted below, but in a user namespace, where it cannot be uncovered. */
	r = mount(source, place, NULL, MS_BIND, NULL);
	if (r < 0 && errno == EINVAL)
		r = mount(source, place, NULL, MS_BIND | MS_REC, NULL);
	if (r < 0 ||
	    mount(NULL, place, NULL, MS_REMOUNT | MS_BIND | LOCKED | kept->flags, NULL) < 0)
		return kiln__fail_errno(err, errno, "cannot keep %s", kept->path);
	return 0;
}

static int change_root(kiln_error *err)
{
	/* pivot_root(2): the old root lies upon the new one then, and is let go. */
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return kiln__fail_errno(err, errno, "cannot change the root directory");
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | LOCKED, NULL) < 0)
		return kiln__fail_errno(err, errno, "cannot close the root directory");
	return 0;
}

/* Builds the new root over @kept's first, and enters it; on failure everything is as it was. */
static int build(const struct kept *kept, size_t count, kiln_error *err)
{
	const char *at = kept[0].path;
	int r = 0;

	if (mount("kiln", at, "tmpfs", LOCKED, "size=64k,nr_inodes=64,mode=0755") < 0)
		return kiln__fail_errno(err, errno, "cannot mount a root directory");
	if (chdir(at) < 0)
		r = kiln__fail_errno(err, errno, "cannot enter a root directory");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = make_place(kept[i].path, err);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = keep(&kept[i], err);
	if (r == 0)
		return change_root(err);
	if (chdir("/") < 0 || umount2(at, MNT_DETACH) < 0)
		kiln__hint(err, "and its directory %s is hidden now", at);
	return r;
}

#define MAX_KEPT 8

int kiln__linux_own_root(const struct kiln__jail *jail, kiln_error *err)
{
	struct kept kept[MAX_KEPT];
	size_t count = 0;
	int r;

	if (jail->writable_count == 0 || jail->writable_count + jail->readable_count > MAX_KEPT)
		return kiln__fail(err, KILN_EINVAL,
				  "no directories for a root directory, or too many");
	r = unshare_mounts(err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < jail->writable_count; i++)
		kept[count++] = (struct kept){.path = jail->writable[i]};
	for (size_t i = 0; i < jail->readable_count; i++)
		kept[count++] = (struct kept){.path = jail->readable[i], .flags = MS_RDONLY};
	for (size_t i = 0; i < count; i++) {
		/* After the namespace was made: what is bound must be of its own mounts. */
		kept[i].fd = open(kept[i].path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (r == 0 && kept[i].fd < 0)
			r = kiln__fail_errno(err, errno, "cannot keep %s", kept[i].path);
		else if (r == 0 && kept[i].path[0] != '/')
			r = kiln__fail(err, KILN_EINVAL, "%s is not absolute", kept[i].path);
	}
	if (r == 0)
		r = build(kept, count, err);
	for (size_t i = 0; i < count; i++)
		kiln__os_close(kept[i].fd);
	return r;
}
