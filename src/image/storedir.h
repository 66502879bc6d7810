/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's directory (store.h), as its parts see it: storedir.c (paths, the lock), storerecord.c
 * (what is known of an image), storeindex.c (names), storelist.c, storesweep.c; pull.c and
 * archive.c put into it.
 */
#ifndef KILN_IMAGE_STOREDIR_H
#define KILN_IMAGE_STOREDIR_H

#include "store.h"

#include "cleanup.h"
#include "os.h"

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

/* --- the directory --------------------------------------------------------------------------- */

/* FOLDER/NAMESUFFIX in the store, malloc'ed; @name NULL: the folder. NULL when out of memory. */
char *kiln__store_path(const struct kiln__images *images, const char *folder, const char *name,
		       const char *suffix);

/* Parts of the lock file. */
#define PART_BLOBS 0
#define PART_INDEX 1

/* Makes the store, and locks that part of it until *@ret is closed. */
int kiln__store_lock(const struct kiln__images *images, unsigned part, kiln_fd *ret,
		     kiln_error *err);

/* The same, unless somebody else has it: an error then. */
int kiln__store_lock_now(const struct kiln__images *images, unsigned part, kiln_fd *ret,
			 kiln_error *err);

/* Makes the store, and keeps who removes from it away until *@ret_lock is closed. */
int kiln__store_hold(const struct kiln__images *images, kiln_fd *ret_lock, kiln_error *err);

/* The directory of blobs. */
int kiln__store_blobs(const struct kiln__images *images, kiln_fd *ret, kiln_error *err);

/* The names in there, complete or not: a set. A new reference. */
int kiln__store_blob_names(const struct kiln__images *images, json_t **ret, kiln_error *err);

/*
 * Takes away what has come to the blobs since those names were listed, and no image on record leads
 * to: of a source that was read and turned out to have no image. Nothing is waited for: where
 * somebody else is at the store, it stays until the next prune. The store must not be held.
 */
void kiln__store_undo(const struct kiln__images *images, const json_t *before);

/* A JSON object of at most @max bytes. */
int kiln__store_load_json(const char *path, size_t max, json_t **ret, kiln_error *err);

/* --- names ----------------------------------------------------------------------------------- */

/* The name that an image of this reference is kept under: by its digest, if it names one. */
void kiln__store_name(const struct kiln__reference *reference, char ret[KILN__REFERENCE_TEXT_MAX]);

/* The digest of the manifest that a name means. KILN_ENOENT. */
int kiln__store_digest_of(const struct kiln__images *images, const char *name, const char *arch,
			  char ret[KILN__SHA256_TEXT + 1], kiln_error *err);

/* index.json, empty if there is none; with PART_INDEX locked, if it is to be changed. */
int kiln__index_load(const struct kiln__images *images, json_t **ret, kiln_error *err);
int kiln__index_save(const struct kiln__images *images, const json_t *index, kiln_error *err);

/* Of one of its descriptors: NULL if it has none, or no good one. The architecture: "". */
const char *kiln__index_name(const json_t *descriptor);
const char *kiln__index_digest(const json_t *descriptor);
const char *kiln__index_arch(const json_t *descriptor); /* as uname has it */

/* A name's link goes: before the index changes. */
int kiln__index_drop_ref(const struct kiln__images *images, const char *name, const char *arch,
			 kiln_error *err);

/*
 * Puts an image whose blobs are all there on record, under @name for @arch. @replaced, may be NULL:
 * what the name meant before.
 */
int kiln__store_record(const struct kiln__images *images, const char *name, const char *arch,
		       const json_t *about, struct kiln__replaced *replaced, kiln_error *err);

/* --- what is known of an image --------------------------------------------------------------- */

/* By the digest of its manifest. KILN_ENOENT. */
int kiln__store_about(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err);

/* The same of its process and architecture alone: {"process": {...}, "arch": "amd64"}. */
int kiln__store_brief(const struct kiln__images *images, const char *digest, json_t **ret,
		      kiln_error *err);

/* The path of its root, malloc'ed, if that is made already. KILN_ENOENT. */
int kiln__store_made_root(const struct kiln__images *images, const char *digest, char **ret,
			  kiln_error *err);

int kiln__store_save_about(const struct kiln__images *images, const json_t *about, kiln_error *err);

/* "root-1-chain-HEX", malloc'ed: the cache's object that an image's root is. */
char *kiln__store_root_name(const json_t *about);

/* The digest of an image's manifest, or "". */
const char *kiln__about_digest(const json_t *about);

#endif
