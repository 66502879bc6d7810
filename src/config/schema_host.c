/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of what the host lends a guest: directories, Rosetta, and ports of its console device.
 */
#include "rows.h"

#include <string.h>

/* virtio 1.2, 5.11.4: the tag has 36 bytes. */
#define MAX_TAG 36

static const char *check_name(const char *text)
{
	return strchr(text, '/') || text[0] == '.' ? "must be a plain file's name" : NULL;
}

static const struct kiln__key share_keys[] = {
	{
		.name = "source",
		IS_HOST_PATH,
		.required = true,
		.field = FIELD(struct kiln__share, source),
		.doc = "Absolute path of the directory on the host.",
	},
	{
		.name = "target",
		IS_MOUNT_POINT,
		.field = FIELD(struct kiln__share, target),
		.doc = "Where it is mounted in the guest, made if it is missing; without one the "
		       "guest mounts it itself, by its tag.",
	},
	{
		.name = "tag",
		IS_SERIAL(MAX_TAG),
		.def_doc = "share0 and so on",
		.field = FIELD(struct kiln__share, tag),
		.doc = "By what name the guest mounts it: mount -t virtiofs TAG DIRECTORY.",
	},
	{
		.name = "name",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 255,
		.check = check_name,
		.pattern = "^[^/.][^/]*$",
		.field = FIELD(struct kiln__share, name),
		.doc = "It is a directory of this name in what is mounted; all that have the same "
		       "tag are there together.",
	},
	{
		.name = "readonly",
		IS_FLAG(struct kiln__share, readonly),
		.doc = "The guest cannot write to it.",
	},
	END,
};

const struct kiln__key kiln__share_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = share_keys,
	.doc = "One directory.",
};

const struct kiln__key kiln__rosetta_keys[] = {
	{
		.name = "enabled",
		IS_FLAG(struct kiln__rosetta, enabled),
		.doc = "Whether the guest has it.",
	},
	{
		.name = "target",
		IS_MOUNT_POINT,
		.field = FIELD(struct kiln__rosetta, target),
		.doc = "Where its directory is mounted in the guest; without one the guest mounts "
		       "it itself, by the tag rosetta.",
	},
	{
		.name = "install",
		IS_FLAG(struct kiln__rosetta, install),
		.doc = "It is installed on the Mac if it is not; macOS asks whoever sits before "
		       "it.",
	},
	{
		.name = "cache",
		.type = KILN__TYPE_STRING,
		.min = 2,
		.max = 108, /* sockaddr_un.sun_path */
		.check = kiln__check_printable,
		.pattern = "^[/@][ -~]+$",
		.field = FIELD(struct kiln__rosetta, cache),
		.doc = "What it has translated is kept, by rosettad in the guest: the path of its "
		       "socket there, or an abstract one's name after @ (macOS 14).",
	},
	END,
};

static const struct kiln__key port_keys[] = {
	{
		.name = "name",
		IS_SERIAL(64),
		.required = true,
		.field = FIELD(struct kiln__console_port, name),
		.doc = "The guest finds it by that, as /dev/virtio-ports/NAME.",
	},
	{
		.name = "file",
		IS_HOST_PATH,
		.exclusive = true,
		.field = FIELD(struct kiln__console_port, file),
		.doc = "Absolute path of a file to which what the guest writes is appended.",
	},
	{
		.name = "socket",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 103, /* sockaddr_un.sun_path of macOS */
		.check = kiln__check_host_path,
		.pattern = "^/",
		.exclusive = true,
		.field = FIELD(struct kiln__console_port, socket),
		.doc = "Absolute path of a Unix socket to which it is connected, both ways, before "
		       "the guest starts.",
	},
	END,
};

const struct kiln__key kiln__console_port_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = port_keys,
	.doc = "One port.",
};
