/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of what has files in it besides the root: disks, tmpfs, volumes. */
#include "rows.h"

static const struct kiln__key disk_keys[] = {
	SOURCE_FILE(struct kiln__disk, source.),
	SOURCE_RANGE(struct kiln__disk, source.),
	{
		.name = "readonly",
		IS_FLAG(struct kiln__disk, readonly),
		.doc = "The guest cannot write to it.",
	},
	{
		/* virtio 1.2, 5.2.6: VIRTIO_BLK_ID_BYTES is 20, without a NUL when full. */
		.name = "serial",
		IS_SERIAL(20),
		.field = FIELD(struct kiln__disk, serial),
		.doc = "Serial number that the guest sees, as in /dev/disk/by-id.",
	},
	{
		.name = "cache",
		.type = KILN__TYPE_CHOICE,
		.choices = CHOICES("writeback", "none", "unsafe"),
		.def = "writeback",
		.field = FIELD(struct kiln__disk, cache),
		.doc = "The host's cache: used, and flushed when the guest flushes (writeback); "
		       "passed by (none); used, and the guest's flushes ignored (unsafe).",
	},
	{
		.name = "discard",
		IS_FLAG(struct kiln__disk, discard),
		.doc = "Blocks that the guest discards are freed in the file.",
	},
	{
		.name = "bus",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("virtio", "nvme", "usb"), /* enum kiln__disk_bus */
		.def = "virtio",
		.field = FIELD(struct kiln__disk, bus),
		.doc = "What it is to the guest: nvme and usb (mass storage) are the vz backend's, "
		       "for "
		       "guests without virtio drivers.",
	},
	{
		.name = "url",
		.type = KILN__TYPE_STRING,
		.min = 7,
		.max = 2048,
		.check = kiln__check_nbd_url,
		.pattern = "^nbds?(\\+unix)?://[!-~]+$",
		.exclusive = true,
		.field = FIELD(struct kiln__disk, url),
		.doc = "Instead of a path, a disk of the network's: an NBD server's URL, such as "
		       "nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH; with the backend "
		       "vz (macOS 14).",
	},
	LATER("sync"),
	END,
};

static const struct kiln__key tmpfs_keys[] = {
	{
		.name = "path",
		.type = KILN__TYPE_STRING,
		.min = 2,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_guest_path,
		.pattern = "^/",
		.required = true,
		.field = FIELD(struct kiln__tmpfs, path),
		.doc = "Where in the guest; made if it is missing.",
	},
	{
		.name = "size",
		.type = KILN__TYPE_SIZE,
		.min = 4 * KIB,
		.max = 16 * TIB,
		.def_doc = "half of the memory",
		.field = FIELD(struct kiln__tmpfs, size),
		.doc = "How much it may hold.",
	},
	{
		.name = "mode",
		.type = KILN__TYPE_STRING,
		.min = 3,
		.max = 4,
		.check = kiln__check_mode,
		.pattern = "^[0-7]{3,4}$",
		.def = "1777",
		.field = FIELD(struct kiln__tmpfs, mode),
		.doc = "The rights to its directory, octal.",
	},
	{
		.name = "exec",
		IS_FLAG(struct kiln__tmpfs, exec),
		.doc = "Programs on it can be executed. Device nodes and set-user-id bits never "
		       "count.",
	},
	END,
};

static const struct kiln__key volume_keys[] = {
	{
		.name = "name",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 64,
		.check = kiln__check_volume,
		.pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
		.required = true,
		.field = FIELD(struct kiln__volume, name),
		.doc = "Which one; made if there is none of that name.",
	},
	{
		.name = "path",
		IS_MOUNT_POINT,
		.required = true,
		.field = FIELD(struct kiln__volume, path),
		.doc = "Where in the guest; made if it is missing.",
	},
	{
		.name = "readonly",
		IS_FLAG(struct kiln__volume, readonly),
		.doc = "The guest cannot write to it, and other machines may have it at the same "
		       "time, so long as none writes.",
	},
	{
		.name = "size",
		.type = KILN__TYPE_SIZE,
		.min = 16 * MIB,
		.max = 16 * TIB,
		.def_doc = "16 GiB (sparse)",
		.field = FIELD(struct kiln__volume, size),
		.doc = "The size of one that is made.",
	},
	END,
};

const struct kiln__key kiln__disk_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = disk_keys,
	.shorthand = KILN__SHORT_PATH,
	.doc = "One disk.",
};

const struct kiln__key kiln__tmpfs_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = tmpfs_keys,
	.shorthand = KILN__SHORT_PATH,
	.doc = "One file system.",
};

const struct kiln__key kiln__volume_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = volume_keys,
	.doc = "One volume.",
};
