/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include "err.h"
#include "evloop.h"
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#define DEADLINE_NS (10 * (int64_t)1000000000)
#define SERIAL_MAX  20 /* virtio 1.2, 5.2.6.1: VIRTIO_BLK_T_GET_ID's string has 20 bytes */

/* A disk's serial: virtio-blk has it on the disk itself, NVMe and SCSI on the device below. */
static bool has_serial(const char *disk, const char *wanted)
{
	static const char *const files[] = {"serial", "device/serial"};
	char path[320];
	char serial[64];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "/sys/block/%s/%s", disk, files[i]);
		if (read_small_file(path, serial, sizeof(serial)) <= 0)
			continue;
		serial[strcspn(serial, " ")] = '\0';
		return strcmp(serial, wanted) == 0 ||
		       (strlen(wanted) > SERIAL_MAX && strlen(serial) == SERIAL_MAX &&
			strncmp(serial, wanted, SERIAL_MAX) == 0);
	}
	return false;
}

static bool look(const char *name, char ret_path[DEVICE_PATH_MAX])
{
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	if (name[0] == '/') {
		if (strlen(name) >= DEVICE_PATH_MAX || access(name, F_OK) < 0)
			return false;
		strcpy(ret_path, name);
		return true;
	}
	dir = opendir("/sys/block");
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) > DEVICE_PATH_MAX - 6 ||
		    !has_serial(entry->d_name, name))
			continue;
		snprintf(ret_path, DEVICE_PATH_MAX, "/dev/%.57s", entry->d_name);
		found = true;
	}
	closedir(dir);
	return found;
}

/* A socket on which the kernel reports what comes and goes. */
static int open_uevents(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool wait_for(const char *name, char ret_path[DEVICE_PATH_MAX])
{
	struct pollfd fd = {.fd = open_uevents(), .events = POLLIN};
	int64_t deadline = monotonic_ns() + DEADLINE_NS;
	char event[4096];
	bool found;

	/* The first look is after the socket is open, so that nothing is missed in between. */
	while (!(found = look(name, ret_path)) && fd.fd >= 0) {
		int64_t left = (deadline - monotonic_ns()) / 1000000;

		if (left <= 0 || poll(&fd, 1, (int)left) <= 0)
			break;
		while (recv(fd.fd, event, sizeof(event), 0) > 0)
			;
	}
	if (fd.fd >= 0)
		close(fd.fd);
	return found;
}

int find_device(const char *name, bool wait, char ret_path[DEVICE_PATH_MAX], kiln_error *err)
{
	if (look(name, ret_path) || (wait && wait_for(name, ret_path)))
		return 0;
	return kiln__fail(err, KILN_ENOENT,
			  name[0] == '/' ? "there is no device %s"
					 : "there is no disk with serial \"%s\"",
			  name);
}

const char *probe_fstype(const char *path)
{
	static const struct {
		const char *type;
		off_t at;
		const char *magic;
		size_t len;
	} known[] = {
		{"squashfs", 0, "hsqs", 4},      {"erofs", 1024, "\xe2\xe1\xf5\xe0", 4},
		{"ext4", 1080, "\x53\xef", 2},   {"xfs", 0, "XFSB", 4},
		{"btrfs", 65600, "_BHRfS_M", 8}, {"iso9660", 32769, "CD001", 5},
	};
	const char *type = NULL;
	char bytes[8];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; fd >= 0 && !type && i < sizeof(known) / sizeof(known[0]); i++)
		if (pread(fd, bytes, known[i].len, known[i].at) == (ssize_t)known[i].len &&
		    memcmp(bytes, known[i].magic, known[i].len) == 0)
			type = known[i].type;
	if (fd >= 0)
		close(fd);
	return type;
}
