/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of files as sources, and of "root". */
#include "rows.h"

const struct kiln__key kiln__source_keys[] = {
	SOURCE_FILE(struct kiln__source, ),
	SOURCE_RANGE(struct kiln__source, ),
	END,
};

/* A directory is a source without a range. */
static const struct kiln__key directory_keys[] = {
	SOURCE_FILE(struct kiln__source, ),
	END,
};

static const struct kiln__key overlay_keys[] = {
	{
		.name = "kind",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("memory", "disk", "none"), /* enum kiln__overlay_kind */
		.def = "memory",
		.field = FIELD(struct kiln__root, overlay),
		.doc = "Where writes to the root go: to memory of the guest, to an ephemeral "
		       "disk, or nowhere: then nothing can be written but to root.disk itself.",
	},
	{
		.name = "size",
		.type = KILN__TYPE_SIZE,
		.min = MIB,
		.max = 64 * TIB,
		.def_doc = "half of the memory, or 16 GiB (sparse) on a disk",
		.field = FIELD(struct kiln__root, overlay_size),
		.doc = "How much can be written.",
	},
	END,
};

#define ROOT_SOURCE(key, table, root_kind, text)                                                   \
	{                                                                                          \
		.name = key, .type = KILN__TYPE_OBJECT, .keys = table,                             \
		.shorthand = KILN__SHORT_PATH, .exclusive = true,                                  \
		.field = FIELD(struct kiln__root, source),                                         \
		.mark = MARK(struct kiln__root, kind, root_kind), .doc = text,                     \
	}

const struct kiln__key kiln__root_keys[] = {
	ROOT_SOURCE("directory", directory_keys, KILN__ROOT_DIRECTORY,
		    "A directory tree, packed into a squashfs image and cached."),
	ROOT_SOURCE("tar", kiln__source_keys, KILN__ROOT_TAR,
		    "A tar archive, compressed or not, packed into a squashfs image and cached."),
	ROOT_SOURCE("squashfs", kiln__source_keys, KILN__ROOT_SQUASHFS, "A squashfs image."),
	ROOT_SOURCE("disk", kiln__source_keys, KILN__ROOT_DISK,
		    "A raw disk image that holds a file system."),
	{
		.name = "image",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 512,
		.check = kiln__check_printable,
		.pattern = "^[!-~]+$",
		.exclusive = true,
		.field = FIELD(struct kiln__root, image),
		.mark = MARK(struct kiln__root, kind, KILN__ROOT_IMAGE),
		.doc = "An image by name, such as debian:12: from the image store, or pulled from "
		       "its "
		       "registry when the machine starts.",
	},
	{
		.name = "image_applied",
		.type = KILN__TYPE_BOOL,
		.def_doc = "false",
		.field = FIELD(struct kiln__root, image_applied),
		.doc = "What this document left out of process, health and labels has been filled "
		       "in from the image's configuration, by docker's rules. If not, the "
		       "machine's first start does that, names the image by its digest, and makes "
		       "this true; set it for the root alone.",
	},
	{
		.name = "fstype",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 32,
		.check = kiln__check_word,
		.pattern = "^[a-z0-9_-]+$",
		.def = "ext4",
		.field = FIELD(struct kiln__root, fstype),
		.doc = "The file system on root.disk.",
	},
	{
		.name = "readonly",
		IS_FLAG(struct kiln__root, readonly),
		.doc = "With root.disk and no overlay: mount it read-only. Everything else is "
		       "never written to anyway.",
	},
	{
		.name = "overlay",
		.type = KILN__TYPE_OBJECT,
		.keys = overlay_keys,
		.doc = "What happens to writes.",
	},
	END,
};
