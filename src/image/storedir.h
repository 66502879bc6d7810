/* SPDX-License-Identifier: Apache-2.0 */
/* What store.c, pull.c and archive.c share: the store's directory (store.h). */
#ifndef KILN_IMAGE_STOREDIR_H
#define KILN_IMAGE_STOREDIR_H

#include "store.h"

#include "os.h"

/* A path in the store, malloc'ed; NULL when out of memory. */
char *kiln__store_path(const struct kiln__images *images, const char *fmt, ...) KILN_PRINTF(2, 3);

/* Makes the store, and keeps who removes from it away until *@ret_lock is closed. */
int kiln__store_hold(const struct kiln__images *images, kiln_fd *ret_lock, kiln_error *err);

/* The directory of blobs. */
int kiln__store_blobs(const struct kiln__images *images, kiln_fd *ret, kiln_error *err);

/* The name that an image of this reference is kept under: by its digest, if it names one. */
void kiln__store_name(const struct kiln__reference *reference, char ret[KILN__REFERENCE_TEXT_MAX]);

/* What is known of an image, by name or by the digest of its manifest. KILN_ENOENT. */
int kiln__store_digest_of(const struct kiln__images *images, const char *name, const char *arch,
			  char ret[KILN__SHA256_TEXT + 1], kiln_error *err);
int kiln__store_about(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err);

/* The same of its process alone: {"process": {...}}. */
int kiln__store_brief(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err);

/* The path of its root, malloc'ed, if that is made already. KILN_ENOENT. */
int kiln__store_made_root(const struct kiln__images *images, const char *digest, char **ret,
			  kiln_error *err);

/* Puts an image whose blobs are all there on record, under @name for @arch. */
int kiln__store_record(const struct kiln__images *images, const char *name, const char *arch,
		       const json_t *about, kiln_error *err);

/* "root-1-chain-HEX", malloc'ed: the cache's object that an image's root is. */
char *kiln__store_root_name(const json_t *about);

/* The digest of an image's manifest, or "". */
const char *kiln__about_digest(const json_t *about);

#endif
