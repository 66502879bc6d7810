/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root: a file system as it is, or an overlay of a read-only one below and, for
 * what is written, memory or an ext4 file system that is grown to its disk above. It is
 * put together in the initramfs and then moved over it, so that the initramfs, now out
 * of everybody's sight, can be emptied; descriptors keep what must be reached later.
 */
#include "root.h"

#include "device.h"
#include "err.h"
#include "mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOWER   "/lower"
#define UPPER   "/upper"
#define NEWROOT "/newroot"

/* The serial that kiln gives to a root's disk: worth a look before being told. */
#define USUAL_DEVICE "kiln-root"

static struct {
	char prepared[DEVICE_PATH_MAX]; /* what LOWER was mounted from beforehand */
	int initramfs;                  /* its directory, or -1 */
	dev_t initramfs_device;
	int upper; /* the upper file system's directory, or -1 */
} state = {.initramfs = -1, .upper = -1};

/* --- mounting ------------------------------------------------------------------------ */

static int mount_device(const char *device, const char *fstype, const char *target,
			unsigned long flags, const char *options, kiln_error *err)
{
	const char *type = fstype ? fstype : probe_fstype(device);

	if (!type)
		return kiln__fail(err, KILN_EFORMAT, "%s has no known file system", device);
	mkdir(target, 0755);
	if (mount(device, target, type, flags, options) < 0)
		return kiln__fail_errno(err, errno, "cannot mount %s as %s", device, type);
	return 0;
}

void root_prepare(void)
{
	char device[DEVICE_PATH_MAX];
	const char *type;

	if (find_device(USUAL_DEVICE, false, device, NULL) < 0)
		return;
	type = probe_fstype(device);
	/* Only what is never written to can be mounted without knowing what for. */
	if (type && (strcmp(type, "squashfs") == 0 || strcmp(type, "erofs") == 0) &&
	    mount_device(device, type, LOWER, MS_RDONLY, NULL, NULL) == 0)
		strcpy(state.prepared, device);
}

static void forget_prepared(void)
{
	if (state.prepared[0])
		umount2(LOWER, MNT_DETACH);
	state.prepared[0] = '\0';
}

static int mount_lower(const struct kiln__agent_root *root, kiln_error *err)
{
	char device[DEVICE_PATH_MAX];
	int r = find_device(root->device, true, device, err);

	if (r < 0)
		return r;
	if (strcmp(device, state.prepared) == 0 && !root->options)
		return 0;
	forget_prepared();
	return mount_device(device, root->fstype, LOWER, MS_RDONLY, root->options, err);
}

static int mount_upper(const struct kiln__agent_root *root, kiln_error *err)
{
	char options[64] = "mode=0755";
	char device[DEVICE_PATH_MAX];
	int r;

	if (!root->upper_device) {
		mkdir(UPPER, 0755);
		if (root->upper_size)
			snprintf(options, sizeof(options), "mode=0755,size=%llu",
				 (unsigned long long)root->upper_size);
		if (mount("tmpfs", UPPER, "tmpfs", 0, options) < 0)
			return kiln__fail_errno(err, errno, "cannot mount memory for the root");
		return 0;
	}
	r = find_device(root->upper_device, true, device, err);
	if (r == 0)
		r = mount_device(device, "ext4", UPPER, MS_NOATIME, root->upper_options, err);
	if (r == 0)
		r = grow_ext4(device, UPPER, err);
	return r;
}

/* Empties a directory without leaving its file system. Closes @fd. */
static void empty_directory(int fd, dev_t device)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	struct stat st;

	if (!dir) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != device)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int below = openat(dirfd(dir), name,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (below >= 0)
				empty_directory(below, device);
		}
		unlinkat(dirfd(dir), name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	}
	closedir(dir);
}

/*
 * The overlay's own directory. What an earlier boot left there would keep a volatile
 * overlay from being mounted again (the kernel's overlayfs.rst, "Volatile mount").
 */
static int make_work(void)
{
	struct stat st;
	int fd;

	if (mkdir(UPPER "/work", 0700) == 0)
		return 0;
	fd = open(UPPER "/work", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	empty_directory(fd, st.st_dev);
	return 0;
}

static int mount_overlay(const struct kiln__agent_root *root, kiln_error *err)
{
	char options[160];
	struct stat st;
	int r = mount_lower(root, err);

	if (r == 0)
		r = mount_upper(root, err);
	if (r < 0)
		return r;
	state.upper = open(UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* The upper directory's owner and mode are the root directory's: those of the image. */
	if (stat(LOWER, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at the root");
	if ((mkdir(UPPER "/root", 0755) < 0 && errno != EEXIST) || make_work() < 0 ||
	    chown(UPPER "/root", st.st_uid, st.st_gid) < 0 ||
	    chmod(UPPER "/root", st.st_mode & 07777) < 0)
		return kiln__fail_errno(err, errno, "cannot prepare the overlay");
	mkdir(NEWROOT, 0755);
	snprintf(options, sizeof(options),
		 "lowerdir=" LOWER ",upperdir=" UPPER "/root,workdir=" UPPER "/work%s",
		 root->ephemeral && root->upper_device ? ",volatile" : "");
	if (mount("overlay", NEWROOT, "overlay", 0, options) < 0)
		return kiln__fail_errno(err, errno, "cannot mount the overlay");
	return 0;
}

static int mount_plain(const struct kiln__agent_root *root, kiln_error *err)
{
	char device[DEVICE_PATH_MAX];
	int r = find_device(root->device, true, device, err);

	if (r < 0)
		return r;
	forget_prepared();
	return mount_device(device, root->fstype, NEWROOT, root->read_only ? MS_RDONLY : 0,
			    root->options, err);
}

/* --- entering ------------------------------------------------------------------------- */

static int move_api(const char *from, const char *to, kiln_error *err)
{
	if (mkdir(to, 0755) < 0 && errno != EEXIST)
		return kiln__fail_errno(err, errno, "the root has no %s, and it cannot be made",
					from);
	if (mount(from, to, NULL, MS_MOVE, NULL) < 0)
		return kiln__fail_errno(err, errno, "cannot move %s into the root", from);
	return 0;
}

static int switch_root(kiln_error *err)
{
	struct stat st;
	int r = move_api("/dev", NEWROOT "/dev", err);

	if (r == 0)
		r = move_api("/proc", NEWROOT "/proc", err);
	if (r == 0)
		r = move_api("/sys", NEWROOT "/sys", err);
	if (r < 0)
		return r;
	/* A root that may not be written to must have what else is mounted on. */
	if ((mkdir(NEWROOT "/run", 0755) < 0 && errno != EEXIST) ||
	    (mkdir(NEWROOT "/tmp", 01777) == 0 && chmod(NEWROOT "/tmp", 01777) < 0))
		return kiln__fail_errno(err, errno, "the root has no /run, and it cannot be made");
	state.initramfs = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fstat(state.initramfs, &st) == 0)
		state.initramfs_device = st.st_dev;
	if (chdir(NEWROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return kiln__fail_errno(err, errno, "cannot enter the root");
	return 0;
}

int root_enter(const struct kiln__agent_root *root, kiln_error *err)
{
	int r;

	if (root->kind == KILN__AGENT_ROOT_STAY) {
		forget_prepared();
		return 0;
	}
	if (!root->device)
		return kiln__fail(err, KILN_EINVAL, "the root has no device");
	if (root->kind == KILN__AGENT_ROOT_OVERLAY)
		r = mount_overlay(root, err);
	else if (root->kind == KILN__AGENT_ROOT_PLAIN)
		r = mount_plain(root, err);
	else
		r = kiln__fail(err, KILN_ENOTSUP, "there is no kind %u of root", root->kind);
	return r < 0 ? r : switch_root(err);
}

int root_seal(const struct kiln__agent_root *root, kiln_error *err)
{
	if (!root->read_only || root->kind != KILN__AGENT_ROOT_OVERLAY)
		return 0;
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return kiln__fail_errno(err, errno, "cannot make the root read-only");
	return 0;
}

/* --- afterwards -------------------------------------------------------------------------- */

void root_discard_initramfs(void)
{
	if (state.initramfs >= 0)
		empty_directory(state.initramfs, state.initramfs_device);
	state.initramfs = -1;
}

void root_finish(void)
{
	/* It has no path any more; its directory is enough. */
	if (state.upper >= 0 && fchdir(state.upper) == 0)
		mount(NULL, ".", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}
