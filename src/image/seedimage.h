/* SPDX-License-Identifier: Apache-2.0 */
/* The disk that a seed is on: an ISO 9660 image with the volume id "cidata". */
#ifndef KILN_IMAGE_SEEDIMAGE_H
#define KILN_IMAGE_SEEDIMAGE_H

#include <kiln/error.h>

#include "fd.h"

#include <stddef.h>

#define KILN__SEED_MAX_FILES 8

struct kiln__seed_entry {
	const char *name; /* letters, digits and '-' */
	kiln_fd fd;       /* a file, read from its start */
};

/*
 * Makes it at @path (mode 0600) by kiln-image, replacing what is there in one step. On failure the
 * old is untouched and nothing is left. Blocks, for some milliseconds.
 */
int kiln__seed_image(const char *path, const struct kiln__seed_entry *entries, size_t count,
		     kiln_error *err);

#endif
