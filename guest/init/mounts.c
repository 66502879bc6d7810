/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include "device.h"
#include "err.h"
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/fs.h>

/* uapi/linux/ext4.h is newer than some kernel headers that this is built with. */
#define EXT4_RESIZE_FS _IOW('f', 16, uint64_t)

struct api_mount {
	const char *type;
	const char *target;
	unsigned long flags;
	const char *data;
};

static int mount_table(const struct api_mount *table, size_t count, kiln_error *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct api_mount *m = &table[i];

		if (mkdir(m->target, 0755) < 0 && errno != EEXIST)
			return kiln__fail_errno(err, errno, "cannot make %s", m->target);
		/* EBUSY: mounted already, by the kernel or by an initramfs around this. */
		if (mount(m->type, m->target, m->type, m->flags, m->data) < 0 && errno != EBUSY)
			return kiln__fail_errno(err, errno, "cannot mount %s", m->target);
	}
	return 0;
}

int mount_early(kiln_error *err)
{
	static const struct api_mount table[] = {
		{"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
		{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
		{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	};

	return mount_table(table, sizeof(table) / sizeof(table[0]), err);
}

int mount_below(kiln_error *err)
{
	static const struct api_mount table[] = {
		{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	};
	static const char *const links[][2] = {
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			return kiln__fail_errno(err, errno, "cannot make %s", links[i][1]);
	return mount_table(table, sizeof(table) / sizeof(table[0]), err);
}

/* --- /run -------------------------------------------------------------------------- */

#define RUN_DEPTH 6

/*
 * Images are built with directories in /run that their programs expect, with owners of
 * their own; the memory file system that covers them gets the same directories.
 */
static void copy_directories(int from, int to, int depth)
{
	int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again < 0 ? NULL : fdopendir(again);
	struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;
		int below[2];

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
		    mkdirat(to, name, 0700) < 0)
			continue;
		below[0] = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		below[1] = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below[0] >= 0 && below[1] >= 0 && fchown(below[1], st.st_uid, st.st_gid) == 0 &&
		    fchmod(below[1], st.st_mode & 07777) == 0 && depth > 0)
			copy_directories(below[0], below[1], depth - 1);
		for (int i = 0; i < 2; i++)
			if (below[i] >= 0)
				close(below[i]);
	}
	if (dir)
		closedir(dir);
	else if (again >= 0)
		close(again);
}

int mount_run(kiln_error *err)
{
	static const struct api_mount run = {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"};
	int from = open("/run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int to;
	int r = mount_table(&run, 1, err);

	if (r == 0 && from >= 0) {
		to = open("/run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (to >= 0) {
			copy_directories(from, to, RUN_DEPTH);
			close(to);
		}
	}
	if (from >= 0)
		close(from);
	if (r < 0)
		return r;
	if (mkdir("/run/lock", 01777) == 0)
		chmod("/run/lock", 01777);
	if (mkdir("/tmp", 01777) == 0)
		chmod("/tmp", 01777);
	return 0;
}

/* --- what SETUP asks for -------------------------------------------------------------- */

int make_directories(const char *path, kiln_error *err)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (path[0] != '/' || len >= sizeof(dir))
		return kiln__fail(err, KILN_EINVAL, "%s is no absolute path", path);
	memcpy(dir, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		dir[i] = '\0';
		if (mkdir(dir, 0755) < 0 && errno != EEXIST && access(dir, F_OK) < 0)
			return kiln__fail_errno(err, errno, "cannot make %s", dir);
		dir[i] = path[i];
	}
	return 0;
}

int grow_ext4(const char *device, const char *mounted_at, kiln_error *err)
{
	uint64_t bytes = 0;
	uint64_t blocks;
	struct statfs fs;
	int error = 0;
	int dev = open(device, O_RDONLY | O_CLOEXEC);
	int dir = open(mounted_at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dev < 0 || dir < 0 || ioctl(dev, BLKGETSIZE64, &bytes) < 0 || fstatfs(dir, &fs) < 0) {
		error = errno;
	} else {
		blocks = bytes / (uint64_t)fs.f_bsize;
		if (ioctl(dir, EXT4_RESIZE_FS, &blocks) < 0)
			error = errno;
	}
	if (dev >= 0)
		close(dev);
	if (dir >= 0)
		close(dir);
	return error ? kiln__fail_errno(err, error, "cannot grow the file system of %s", device)
		     : 0;
}

static unsigned long mount_flags(uint32_t flags)
{
	return (flags & KILN__AGENT_MOUNT_RDONLY ? MS_RDONLY : 0UL) |
	       (flags & KILN__AGENT_MOUNT_NOSUID ? MS_NOSUID : 0UL) |
	       (flags & KILN__AGENT_MOUNT_NODEV ? MS_NODEV : 0UL) |
	       (flags & KILN__AGENT_MOUNT_NOEXEC ? MS_NOEXEC : 0UL);
}

static bool is_on_disk(const char *fstype)
{
	static const char *const types[] = {"ext4",  "xfs",     "btrfs", "squashfs",
					    "erofs", "iso9660", "vfat"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i], fstype) == 0)
			return true;
	return false;
}

int mount_extra(const struct kiln__agent_mount *m, kiln_error *err)
{
	const char *type = m->fstype;
	const char *source = m->source ? m->source : type;
	char device[DEVICE_PATH_MAX];
	int r;

	if (!m->target || m->target[0] != '/' || (!type && !m->source))
		return kiln__fail(err, KILN_EINVAL, "a mount needs a type and an absolute target");
	if (!type || is_on_disk(type)) {
		r = find_device(source, true, device, err);
		if (r < 0)
			return r;
		source = device;
		type = type ? type : probe_fstype(device);
		if (!type)
			return kiln__fail(err, KILN_EFORMAT, "%s has no known file system", device);
	}
	r = make_directories(m->target, err);
	if (r < 0)
		return r;
	r = mount(source, m->target, type, mount_flags(m->flags), m->options);
	/* ext4 would have to write what its journal says first. */
	if (r < 0 && errno == EROFS)
		return kiln__fail(
			err, KILN_ESTATE,
			"cannot mount %s at %s: its last machine was killed, and it has to "
			"be mounted to be written to once before it can be only read",
			source, m->target);
	if (r < 0)
		return kiln__fail_errno(err, errno, "cannot mount %s at %s as %s", source,
					m->target, type);
	return m->grow ? grow_ext4(source, m->target, err) : 0;
}

/* --- the end ------------------------------------------------------------------------------ */

#define MOUNTS_MAX ((size_t)64 * 1024)

/* proc(5): the fifth field of a line of mountinfo is the mount point, its blanks in octal. */
static char *mount_point(char *line)
{
	char *to;
	char *from;

	for (int field = 1; line && field < 5; field++) {
		line = strchr(line, ' ');
		line += line != NULL;
	}
	if (!line)
		return NULL;
	for (to = from = line; *from && *from != ' ' && *from != '\n'; to++) {
		if (*from == '\\' && from[1] && from[2] && from[3]) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
	return line;
}

/* The last mounted is on the last line; what is mounted beneath something comes after it. */
void unmount_all(void)
{
	static char text[MOUNTS_MAX];
	int len = read_small_file("/proc/self/mountinfo", text, sizeof(text));
	char *line;

	while (len > 0) {
		line = memrchr(text, '\n', (size_t)len);
		if (line)
			*line = '\0';
		len = line ? (int)(line - text) : 0;
		line = mount_point(line ? line + 1 : text);
		if (!line || strcmp(line, "/") == 0)
			continue;
		if (umount2(line, 0) < 0)
			mount(NULL, line, NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}
