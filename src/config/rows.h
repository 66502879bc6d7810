/* SPDX-License-Identifier: Apache-2.0 */
/* How the rows of the tables of keys are written: for schema.c and the tables beside it. */
#ifndef KILN_CONFIG_ROWS_H
#define KILN_CONFIG_ROWS_H

#include "check.h"
#include "schema.h"
#include "spec.h"

#define KIB (INT64_C(1) << 10)
#define MIB (INT64_C(1) << 20)
#define TIB (INT64_C(1) << 40)

#define SECOND INT64_C(1000)
#define DAY    (24 * 3600 * SECOND)

#define MAX_OFFSET     (INT64_C(1) << 53) /* what a number in JSON holds everywhere */
#define MAX_PATH_BYTES 4095               /* Linux's PATH_MAX without the NUL */

#define FIELD(type, member)                                                                        \
	{                                                                                          \
		true, offsetof(type, member), sizeof(((type *)NULL)->member)                       \
	}
#define MARK(type, member, value)                                                                  \
	{                                                                                          \
		true, offsetof(type, member), value                                                \
	}
#define CHOICES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LATER(key)                                                                                 \
	{                                                                                          \
		.name = key, .type = KILN__TYPE_LATER                                              \
	}
/* The same with what there is instead. */
#define LATER_BUT(key, text)                                                                       \
	{                                                                                          \
		.name = key, .type = KILN__TYPE_LATER, .doc = text                                 \
	}
/* What rows of one kind share. */
#define IS_FLAG(owner, member)                                                                     \
	.type = KILN__TYPE_BOOL, .def = "false", .field = FIELD(owner, member)
#define IS_HOST_PATH                                                                               \
	.type = KILN__TYPE_STRING, .min = 1, .max = MAX_PATH_BYTES,                                \
	.check = kiln__check_host_path, .pattern = "^/"
#define IS_MOUNT_POINT                                                                             \
	.type = KILN__TYPE_STRING, .min = 2, .max = MAX_PATH_BYTES,                                \
	.check = kiln__check_mount_point, .pattern = "^/"
#define IS_SERIAL(longest)                                                                         \
	.type = KILN__TYPE_STRING, .min = 1, .max = longest, .check = kiln__check_serial,          \
	.pattern = "^[!-+\\--~]+$"

/* A name that the field has for something which is written otherwise here. */
#define ELSEWHERE(key, text)                                                                       \
	{                                                                                          \
		.name = key, .type = KILN__TYPE_ELSEWHERE, .doc = text                             \
	}
#define END                                                                                        \
	{                                                                                          \
		.name = NULL                                                                       \
	}

/* The keys of a source, where @in leads from the struct @owner to its struct kiln__source. */
#define SOURCE_FILE(owner, in)                                                                     \
	{                                                                                          \
		.name = "path",                                                                    \
		IS_HOST_PATH,                                                                      \
		.exclusive = true,                                                                 \
		.field = FIELD(owner, in path),                                                    \
		.doc = "Absolute path on the host.",                                               \
	},                                                                                         \
	{                                                                                          \
		.name = "fd", .type = KILN__TYPE_FD, .min = 3, .max = 1048575, .exclusive = true,  \
		.field = FIELD(owner, in fd),                                                      \
		.doc = "Instead of a path, a descriptor that the process which starts the "        \
		       "machine has inherited.",                                                   \
	}
#define SOURCE_RANGE(owner, in)                                                                    \
	{                                                                                          \
		.name = "offset",                                                                  \
		.type = KILN__TYPE_SIZE,                                                           \
		.max = MAX_OFFSET,                                                                 \
		.def = "0",                                                                        \
		.field = FIELD(owner, in offset),                                                  \
		.doc = "Where in the file the contents begin.",                                    \
	},                                                                                         \
	{                                                                                          \
		.name = "length", .type = KILN__TYPE_SIZE, .max = MAX_OFFSET, .def = "0",          \
		.field = FIELD(owner, in length),                                                  \
		.doc = "How many bytes of the file are meant; 0: all up to its end.",              \
	}

/* Of a file, or a range of one, into a struct kiln__source; and of "root" (schema_root.c). */
extern const struct kiln__key kiln__source_keys[];
extern const struct kiln__key kiln__root_keys[];

/* Of "disks", "tmpfs" and "volumes" (schema_disks.c). */
extern const struct kiln__key kiln__disk_element;
extern const struct kiln__key kiln__tmpfs_element;
extern const struct kiln__key kiln__volume_element;

/* Of "networks", "ports" and "vsock" (schema_network.c). */
extern const struct kiln__key kiln__network_element;
extern const struct kiln__key kiln__port_element;
extern const struct kiln__key kiln__vsock_keys[];

/* Of "console" and "log" (schema_console.c). */
extern const struct kiln__key kiln__console_keys[];
extern const struct kiln__key kiln__log_keys[];

/* Of "identity", "process", "readiness" and "health" (schema_process.c). */
extern const struct kiln__key kiln__identity_keys[];
extern const struct kiln__key kiln__process_keys[];
extern const struct kiln__key kiln__readiness_keys[];
extern const struct kiln__key kiln__health_keys[];

/* Of each backend's own part (schema_backends.c). */
extern const struct kiln__key kiln__qemu_keys[];
extern const struct kiln__key kiln__firecracker_keys[];
extern const struct kiln__key kiln__cloud_hypervisor_keys[];
extern const struct kiln__key kiln__fake_keys[];

/* Of "firecracker.jailer", by struct kiln__spec (schema_jailer.c). */
extern const struct kiln__key kiln__jailer_keys[];

/* Of "seed", whose struct is struct kiln__seed (schema_seed.c). */
extern const struct kiln__key kiln__seed_keys[];

/* Of "shares", "rosetta" and "console.ports" (schema_host.c). */
extern const struct kiln__key kiln__share_element;
extern const struct kiln__key kiln__rosetta_keys[];
extern const struct kiln__key kiln__console_port_element;

#endif
