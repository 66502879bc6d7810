/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One layer of an image: a blob with a tar archive, plain or compressed by gzip or zstd, that is
 * read once from its start. What comes out of the decompressor is digested on its way to the tar
 * reader (the DiffID) and bounded.
 */
#ifndef KILN_IMAGE_LAYER_H
#define KILN_IMAGE_LAYER_H

#include <kiln/error.h>

#include "fd.h"
#include "sha256.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct layer {
	const char *name; /* for messages, borrowed */
	kiln_fd fd;       /* borrowed */
	uint64_t max;     /* bytes that it may unpack to */
	uint64_t bytes;   /* so far */
	struct sha256 *sha;
	struct archive *packed; /* yields the bytes of the archive */
	struct archive *tar;
	char *buffer;   /* what is read of the file */
	kiln_error err; /* of what the tar reader only knows as a failure */
	bool begun;
	bool ended;
	bool padded;
};

/*
 * By the first bytes of a layer (LAYER_HEAD are enough): KILN_ENOTSUP if it is compressed in a way
 * that layers cannot be.
 */
#define LAYER_HEAD 10
int layer_check_compression(const char *bytes, size_t len, kiln_error *err);

/* Opens the layer at the start of @fd. layer_close() in any case. */
int layer_open(struct layer *layer, kiln_fd fd, const char *name, uint64_t max, kiln_error *err);
void layer_close(struct layer *layer);

/* The next entry: 1, or 0 at the end. */
int layer_next(struct layer *layer, struct archive_entry **ret, kiln_error *err);

/* Reads what is left behind the archive's end and gives the digest of all. */
int layer_finish(struct layer *layer, char ret[SHA256_TEXT], kiln_error *err);

/* Whether @media_type of the compression that was found (for a manifest): one of LAYER_*. */
const char *layer_media_type(const struct layer *layer);

#endif
