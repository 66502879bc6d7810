/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_FILES_H
#define KILN_GUEST_FILES_H

#include <stddef.h>

/* A small file's beginning, NUL-terminated, without a newline at its end; its length or a negative
 * errno. */
int read_small_file(const char *path, char *buf, size_t size);

/* Writes to a file that exists, as /proc and /sys have them; 0 or a negative errno. */
int write_small_file(const char *path, const char *text);

/* Replaces a file, or a link to whatever; 0 or a negative errno. */
int replace_file(const char *path, const char *text);

#endif
