/* SPDX-License-Identifier: Apache-2.0 */
/* One file by https, by the role of kiln-image that has a network (image/download.c). */
#ifndef KILN_IMAGE_DOWNLOAD_H
#define KILN_IMAGE_DOWNLOAD_H

#include <kiln/error.h>

#include "fd.h"

#include <stdint.h>

#define KILN__DOWNLOAD_HEX 129 /* of a SHA-512, with its NUL */

struct kiln__download {
	const char *url;    /* https */
	const char *kind;   /* "sha256" or "sha512" */
	const char *wanted; /* its digest, or NULL: not known before */
	uint64_t max;       /* bytes */
};

/*
 * Into the open file, going on where it ends; @ret is the digest of the whole, which the caller
 * compares. What was got stays in the file on failure. Blocks.
 */
int kiln__download(const struct kiln__download *download, kiln_fd to, char ret[KILN__DOWNLOAD_HEX],
		   kiln_error *err);

#endif
