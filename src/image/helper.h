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

/* The same of kiln-download, which has a network and nothing else (image/download.c):
 * $KILN_DOWNLOAD. */
int kiln__download_call(const char *const *argv, const struct kiln__spawn_fd *fds, size_t fd_count,
			json_t **ret, kiln_error *err);

#endif
