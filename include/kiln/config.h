/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of a machine: one JSON document, in an opaque handle.
 *
 * The same document is what the C API sets, what `kiln create --config` reads,
 * what lies in the VM's directory and what `kiln inspect` shows; its schema is
 * docs/machine.schema.json. Keys are named by path: "cpus", "disks[0].path",
 * "labels.tier". Unknown keys, wrong types and impossible values are refused with
 * the key's path when they are set or parsed, before anything is made of them.
 *
 * A handle is not locked: one thread at a time. Strings that are handed out live
 * until the handle is changed or freed.
 */
#ifndef KILN_CONFIG_H
#define KILN_CONFIG_H

#include <kiln/error.h>

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kiln_config kiln_config;

/* An empty configuration: every key has its default. Owned by the caller. */
KILN_PUBLIC int kiln_config_new(kiln_config **ret_config, kiln_error *err);
KILN_PUBLIC void kiln_config_free(kiln_config *config); /* NULL is allowed */

/* A configuration of its own with the same keys set. Owned by the caller. */
KILN_PUBLIC int kiln_config_copy(const kiln_config *config, kiln_config **ret_config,
				 kiln_error *err);

/*
 * Parses a document of @len bytes (at most 1 MiB). KILN_EINVAL: not JSON (with
 * line and column), an unknown key, a wrong type; KILN_EOVERFLOW: a number or length out
 * of range; KILN_ENOTSUP: a key that a later version brings. Paths on the host must be
 * absolute: who reads the document has another working directory than who wrote it.
 */
KILN_PUBLIC int kiln_config_parse(const char *json, size_t len, kiln_config **ret_config,
				  kiln_error *err);

/* Reads and parses a file, which refusals name. */
KILN_PUBLIC int kiln_config_load(const char *path, kiln_config **ret_config, kiln_error *err);

/*
 * Sets one value from its text, converted to the key's type: numbers, "true" or
 * "false", sizes with a unit ("512M", "1G"; powers of 1024), durations ("10s",
 * "500ms"). "disks[]", or "disks[N]" with N the current length, appends an element;
 * "labels[]" and "process.env[]" take "NAME=value". A value that starts with '{' or '['
 * and stands for an object or array is parsed as JSON; sources (kernel, root.tar, disks[] ...)
 * also take a path, ports[] docker's form "127.0.0.1:8080:80/tcp". NULL unsets, also what is not
 * set. Fails as kiln_config_parse(), and with KILN_ENOENT for an index beyond the end. On failure
 * the configuration is unchanged.
 */
KILN_PUBLIC int kiln_config_set(kiln_config *config, const char *path, const char *value,
				kiln_error *err);

/*
 * The value at @path as text that kiln_config_set() would take: numbers in bytes and
 * milliseconds, defaults where nothing was set, objects and arrays as JSON with what was set in
 * them. KILN_ENOENT if there is neither a value nor a default.
 */
KILN_PUBLIC int kiln_config_get(const kiln_config *config, const char *path, const char **ret_value,
				kiln_error *err);

/*
 * Checks what only the whole can tell: that required parts are there and agree
 * with each other. Parsing and setting have checked each value already.
 */
KILN_PUBLIC int kiln_config_validate(const kiln_config *config, kiln_error *err);

/*
 * The document, malloc'ed, keys in the schema's order, only what was set, ending in a
 * newline; parsing it again gives an equal configuration. KILN_EOVERFLOW if it would be
 * longer than kiln_config_parse() takes.
 */
KILN_PUBLIC int kiln_config_print(const kiln_config *config, char **ret_json, kiln_error *err);

/* The published JSON Schema (draft 2020-12), static. */
KILN_PUBLIC const char *kiln_config_schema(void);

#ifdef __cplusplus
}
#endif
#endif
