/* SPDX-License-Identifier: Apache-2.0 */
/* Calls kiln-image, the sandboxed program that parses images. */
#ifndef KILN_IMAGE_HELPER_H
#define KILN_IMAGE_HELPER_H

#include <kiln/error.h>

#include "os.h"

#include <jansson.h>

/*
 * Runs kiln-image with @argv (without its own name, NULL-terminated) and descriptors.
 * @ret is the object that it printed, which the caller frees. What it says failed is what this
 * fails with; KILN_EDIED if it ended in another way. Blocks.
 *
 * It is $KILN_IMAGE, or kiln-image beside this executable, in ../libexec/kiln from it, or where it
 * was installed.
 */
struct kiln__helper {
	const char *const *argv;
	const struct kiln__spawn_fd *fds;
	size_t fd_count;
	void (*line)(void *data, const char *line); /* may be NULL: see run.h */
	void *data;
	int line_fd;
};
int kiln__helper_run(const struct kiln__helper *helper, json_t **ret, kiln_error *err);

/* The same without lines. */
int kiln__helper_call(const char *const *argv, const struct kiln__spawn_fd *fds, size_t fd_count,
		      json_t **ret, kiln_error *err);

/* A JSON text in memory that only the descriptor leads to: how secrets are passed on. */
int kiln__helper_request(const json_t *request, kiln_fd *ret, kiln_error *err);

/* How long a server may be silent, in seconds ($KILN_PULL_TIMEOUT); 0: as kiln-image has it. */
json_int_t kiln__helper_timeout(void);

#endif
