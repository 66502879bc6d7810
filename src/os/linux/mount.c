/* SPDX-License-Identifier: Apache-2.0 */
/* open_tree(2), mount_setattr(2), user_namespaces(7). */
#include "mount.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_map(pid_t pid, const char *name, uint32_t from, uint32_t to, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char path[64];
	char text[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	/* Of a mount the inner number is the one on disk, the outer one what is seen. */
	snprintf(text, sizeof(text), "%u %u 1", from, to);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return kiln__fail_errno(err, errno, "cannot map users");
	return 0;
}

/* A process does nothing in a user namespace of its own until it is killed, or we end. */
static pid_t make_sleeper(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid != 0)
		return pid;
	syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (;;)
		syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

int kiln__os_id_map(kiln_fd *ret, const struct kiln__id_map *map, kiln_error *err)
{
	pid_t pid = make_sleeper();
	char path[64];
	int fd = -1;
	int r;

	if (pid < 0)
		return kiln__fail_errno(err, errno, "cannot make a user namespace");
	r = write_map(pid, "uid_map", map->from_user, map->to_user, err);
	if (r == 0)
		r = write_map(pid, "gid_map", map->from_group, map->to_group, err);
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			r = kiln__fail_errno(err, errno, "cannot open a user namespace");
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r == 0)
		*ret = fd;
	return r;
}

int kiln__os_clone_mount(kiln_fd *ret, kiln_fd file, bool readonly, kiln_fd id_map, kiln_error *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
	kiln__autoclose kiln_fd tree = KILN_FD_NONE;
	struct stat st;

	if (fstat(file, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at a file to be mounted");
	if (!S_ISBLK(st.st_mode))
		attr.attr_set |= MOUNT_ATTR_NODEV;
	if (readonly)
		attr.attr_set |= MOUNT_ATTR_RDONLY;
	if (id_map != KILN_FD_NONE) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (unsigned)id_map;
	}
	tree = (int)syscall(SYS_open_tree, file, "",
			    AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree >= 0 &&
	    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0) {
		*ret = kiln__take_fd(&tree);
		return 0;
	}
	/* EINVAL: a file of no file system (memfd), or one without id-mapped mounts. */
	if (errno == ENOSYS || errno == EINVAL)
		return kiln__fail(err, KILN_ENOTSUP,
				  id_map == KILN_FD_NONE
					  ? "the file cannot be mounted here"
					  : "its file system has no id-mapped mounts here");
	return kiln__fail_errno(err, errno, "the file cannot be mounted");
}
