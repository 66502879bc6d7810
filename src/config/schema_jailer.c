/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of "firecracker.jailer": see docs/design/api-vmms.md. */
#include "rows.h"

#include <string.h>

#define LIMIT_PATTERN "^(fsize|no-file)=[0-9]{1,18}$"
#define GROUP_PATTERN "^[a-z_]+\\.[A-Za-z0-9_.]+=[^=]+$"

static bool is_number(const char *text)
{
	size_t len = strspn(text, "0123456789");

	return len >= 1 && len <= 18 && !text[len];
}

static const char *check_limit(const char *text)
{
	if ((strncmp(text, "fsize=", 6) == 0 && is_number(text + 6)) ||
	    (strncmp(text, "no-file=", 8) == 0 && is_number(text + 8)))
		return NULL;
	return "must be fsize=BYTES or no-file=COUNT";
}

/* As the jailer itself takes them, and no path that leads out of the group. */
static const char *check_group(const char *text)
{
	const char *equals = strchr(text, '=');
	const char *dot = strchr(text, '.');

	if (equals && dot && dot > text && dot < equals && equals[1] && !strchr(equals + 1, '=') &&
	    !strstr(text, "..") && !memchr(text, '/', (size_t)(equals - text)) &&
	    kiln__check_printable(text) == NULL)
		return NULL;
	return "must be FILE=VALUE, with the name of a cgroup's file";
}

static const char *check_parent(const char *text)
{
	if (text[0] == '/' || strstr(text, "..") || strchr(text, ' ') ||
	    kiln__check_printable(text))
		return "must be a relative path without ..";
	return NULL;
}

static const struct kiln__key limit_element = {
	.type = KILN__TYPE_STRING,
	.min = 1,
	.max = 64,
	.check = check_limit,
	.pattern = LIMIT_PATTERN,
	.doc = "fsize=BYTES, of the largest file, or no-file=COUNT, of open files.",
};
static const struct kiln__key group_element = {
	.type = KILN__TYPE_STRING,
	.min = 3,
	.max = 255,
	.check = check_group,
	.pattern = GROUP_PATTERN,
	.doc = "One limit, FILE=VALUE: cpu.max=50000 100000.",
};

const struct kiln__key kiln__jailer_keys[] = {
	{
		.name = "enabled",
		IS_FLAG(struct kiln__spec, firecracker.jailer.enabled),
		.doc = "Firecracker is started by its jailer: in a root directory of its own, as "
		       "the user named. Takes root, Linux 5.12 and, for files of others, a file "
		       "system with id-mapped mounts; no snapshots, no firecracker.api = false. "
		       "Paths in firecracker.config are the jail's then.",
	},
	{
		.name = "binary",
		IS_HOST_PATH,
		.def_doc = "found by PATH",
		.field = FIELD(struct kiln__spec, firecracker.jailer.binary),
		.doc = "Absolute path of jailer.",
	},
	{
		.name = "uid",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 4294967294,
		.field = FIELD(struct kiln__spec, firecracker.jailer.uid),
		.doc = "The user that Firecracker is to be, as a number.",
	},
	{
		.name = "gid",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 4294967294,
		.field = FIELD(struct kiln__spec, firecracker.jailer.gid),
		.doc = "Its group.",
	},
	{
		.name = "chroot_base",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 1024,
		.check = kiln__check_host_path,
		.pattern = "^/",
		.def = "/srv/jailer",
		.field = FIELD(struct kiln__spec, firecracker.jailer.chroot_base),
		.doc = "An existing directory, in which the jails are.",
	},
	{
		.name = "cgroup_version",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 2,
		.def = "2",
		.field = FIELD(struct kiln__spec, firecracker.jailer.cgroup_version),
		.doc = "Which cgroups the limits are of.",
	},
	{
		.name = "parent_cgroup",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 255,
		.check = check_parent,
		.pattern = "^[^/ ][^ ]*$",
		.def_doc = "the program's name",
		.field = FIELD(struct kiln__spec, firecracker.jailer.parent_cgroup),
		.doc = "The group in which the VM's own is made.",
	},
	{
		.name = "cgroups",
		.type = KILN__TYPE_LIST,
		.max = 16,
		.element = &group_element,
		.field = FIELD(struct kiln__spec, firecracker.jailer.cgroups),
		.doc = "Limits of the VM's own group.",
	},
	{
		.name = "netns",
		IS_HOST_PATH,
		.field = FIELD(struct kiln__spec, firecracker.jailer.netns),
		.doc = "Absolute path of a network namespace, such as /run/netns/NAME: networks' "
		       "interfaces are looked for there.",
	},
	{
		.name = "new_pid_ns",
		IS_FLAG(struct kiln__spec, firecracker.jailer.new_pid_ns),
		.doc = "Firecracker sees no process but itself.",
	},
	{
		.name = "resource_limits",
		.type = KILN__TYPE_LIST,
		.max = 8,
		.element = &limit_element,
		.field = FIELD(struct kiln__spec, firecracker.jailer.resource_limits),
		.doc = "Limits of the process.",
	},
	END,
};
