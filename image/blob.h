/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs in the store's directory: files named by the SHA-256 of what is in them.
 *
 * One that is being written is NAME.partial, locked by its writer; it gets its name by rename,
 * synced, once its digest and size are what was promised. So a name always stands for the whole,
 * verified contents. What a writer that was killed has left goes on where it ended.
 */
#ifndef KILN_IMAGE_BLOB_H
#define KILN_IMAGE_BLOB_H

#include <kiln/error.h>

#include "cleanup.h"
#include "fd.h"
#include "sha256.h"

#include <stdbool.h>
#include <stdint.h>

struct blob;

#define BLOB_ANY_SIZE UINT64_MAX

/* Whether it is there, with this size. */
bool blob_present(kiln_fd dir, const char *digest, uint64_t size);

/*
 * Begins to write the blob @digest of @size bytes. 1, and no blob, if it is there already.
 * KILN_EBUSY if another process is writing it: without @wait at once, else that is waited for.
 * What is there of it from before is kept, see blob_length().
 */
int blob_begin(struct blob **ret, kiln_fd dir, const char *digest, uint64_t size, bool wait,
	       kiln_error *err);

/* One whose digest is not known yet: blob_finish() names it. Nothing is left of it on failure. */
int blob_begin_unnamed(struct blob **ret, kiln_fd dir, uint64_t max, kiln_error *err);

/* Bytes that are there. */
uint64_t blob_length(const struct blob *blob);

/* KILN_EOVERFLOW beyond the promised size. */
int blob_add(struct blob *blob, const void *bytes, size_t len, kiln_error *err);

/* Forgets all bytes: the source does not go on in the middle, or they were wrong. */
int blob_restart(struct blob *blob, kiln_error *err);

/*
 * Verifies, and lets it be seen. KILN_EFORMAT if size or digest are not those promised; what was
 * written is gone then. The blob can only be freed afterwards.
 */
int blob_finish(struct blob *blob, char ret_digest[SHA256_TEXT], uint64_t *ret_size,
		kiln_error *err);

/* Ends the writing: what is there of a named one stays for the next who asks. NULL is allowed. */
void blob_free(struct blob *blob);

/* A whole small blob; KILN_EOVERFLOW beyond @max. Its digest is verified anew. */
int blob_read(kiln_fd dir, const char *digest, size_t max, char **ret, size_t *ret_len,
	      kiln_error *err);

/* All of @bytes as one blob. */
int blob_put(kiln_fd dir, const void *bytes, size_t len, char ret_digest[SHA256_TEXT],
	     kiln_error *err);

/* For reading. KILN_ENOENT says which is missing. */
int blob_open(kiln_fd dir, const char *digest, kiln_fd *ret, kiln_error *err);

KILN__DEFINE_AUTOPTR(struct blob, blob_free)

#endif
