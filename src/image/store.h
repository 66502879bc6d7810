/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images that are here, by name. On disk an OCI image layout (image-layout.md), "store" beside
 * the cache's objects, with three things more:
 *
 *   oci-layout, index.json     what there is: a manifest's descriptor, annotated with the name
 *   blobs/sha256/HEX           manifests, configurations, layers: complete and verified
 *   images/HEX                 what kiln-image told of the manifest HEX (image/manifest.h)
 *   images/HEX.run             its "process" alone, which is all that a warm run needs of it,
 *                              as fields that cost little to be read (storerecord.c)
 *   images/HEX.root            a symbolic link that says the name of its root in the cache
 *   refs/KEY                   a symbolic link to ../images/HEX: what a name meant when it was last
 *                              asked for; made of index.json, so that nothing need be parsed
 *   lock                       part 0: held by all who add blobs, locked by who removes them;
 *                              part 1: locked by who writes index.json
 *
 * Registries and archives are kiln-image's business: here are only names, digests and its answers.
 * All functions block. The struct kiln__images they take is immutable: any thread, any number.
 */
#ifndef KILN_IMAGE_STORE_H
#define KILN_IMAGE_STORE_H

#include <kiln/error.h>

#include "images.h"
#include "reference.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kiln__pull_policy {
	KILN__PULL_MISSING, /* asks no registry for what is here */
	KILN__PULL_ALWAYS,
	KILN__PULL_NEVER,
};

/* How far a download is; of layers that are there already nothing counts. */
struct kiln__transfer {
	uint64_t bytes;
	uint64_t total;
	unsigned layers_done;
	unsigned layers;
};

struct kiln__image_request {
	const char *
		reference; /* a name; or a digest alone: an image that is here, whose name counts */
	const char *arch;  /* as uname has it */
	enum kiln__pull_policy pull;
	bool brief; /* of one that is here nothing but "process" is wanted in about */
	/*
	 * Not NULL, and KILN_FD_NONE there at first: nobody removes the image before the caller
	 * closes this, which it does once something names the image that a removal looks at.
	 */
	kiln_fd *held;
	/* Told often while something is downloaded; may be NULL. */
	void (*transfer)(void *data, const struct kiln__transfer *transfer);
	void *data;
};

/* What a name meant until it was given to another image. */
struct kiln__replaced {
	char digest[KILN__SHA256_TEXT + 1]; /* empty: nothing, or the same image */
	bool nameless;                      /* that image has no other name */
};

struct kiln__image {
	char name[KILN__REFERENCE_TEXT_MAX]; /* the whole name */
	char digest[KILN__SHA256_TEXT + 1];  /* of its manifest */
	json_t *about;                       /* images/HEX: see image/manifest.h; brief: HEX.run */
	struct kiln__replaced replaced;      /* of one that was loaded */
};

void kiln__image_done(struct kiln__image *image);

/*
 * The image of that name, from here or a registry. A digest may be that of the manifest, or of the
 * index that led to it; a manifest for another architecture is refused. A hit is a readlink and the
 * reading of one short file.
 */
int kiln__image_get(const struct kiln__images *images, const struct kiln__image_request *request,
		    struct kiln__image *ret, kiln_error *err);

/* Its root as a squashfs: made of its layers, which are pulled again where they are gone. */
int kiln__image_root(const struct kiln__images *images, const struct kiln__image_request *request,
		     const struct kiln__image *image, char **ret_path, kiln_error *err);

/* Both, of what a configuration names: for who only boots it. */
int kiln__image_root_of(const struct kiln__images *images, const char *reference, const char *arch,
			char **ret_path, kiln_error *err);

/* Whether a registry lets this user in: for login. */
int kiln__image_check_login(const struct kiln__images *images, const char *host, const char *user,
			    const char *password, kiln_error *err);

/* --- what is there --------------------------------------------------------------------------- */

struct kiln__image_entry {
	char name[KILN__REFERENCE_TEXT_MAX]; /* empty: without a name any more */
	char digest[KILN__SHA256_TEXT + 1];
	char arch[16];      /* what the name means it for, as uname has it; empty: unknown */
	json_t *about;      /* NULL: its description is gone */
	uint64_t size;      /* of its blobs, those that it shares as well */
	uint64_t root_size; /* of the squashfs that was made of it; 0: none yet */
	int64_t created_ns; /* since 1970; 0 unknown */
};

struct kiln__image_list {
	struct kiln__image_entry *entries;
	size_t count;
};

int kiln__store_list(const struct kiln__images *images, struct kiln__image_list *ret,
		     kiln_error *err);
void kiln__store_list_done(struct kiln__image_list *list);

/*
 * The entry that a name, a digest or the beginning of one (12 digits) stands for: a name first,
 * wherever that is no whole digest; of several, the one for @arch (NULL: any, but this machine's
 * before others). KILN_ENOENT.
 */
int kiln__store_find(const struct kiln__image_list *list, const char *text, const char *arch,
		     const struct kiln__image_entry **ret, kiln_error *err);

/* Whether it is for @arch, or may be. NULL: for any. */
bool kiln__store_is_for(const struct kiln__image_entry *entry, const char *arch);

/* Whether @text is its name, and not another name or a digest. */
bool kiln__store_is_name(const struct kiln__image_entry *entry, const char *text);

/* Gives the image of an entry one more name, which no longer means another one. */
int kiln__store_tag(const struct kiln__images *images, const struct kiln__image_entry *entry,
		    const char *name, kiln_error *err);

/*
 * Between these two nobody adds to the store, and nobody who was told of an image has yet to name
 * it: what uses images is listed here, or that list is too old. The only place where what follows
 * may be called.
 */
struct kiln__removal {
	kiln_fd blobs;
	kiln_fd index;
};
int kiln__store_begin_removal(const struct kiln__images *images, struct kiln__removal *ret,
			      kiln_error *err);
void kiln__store_end_removal(struct kiln__removal *removal);

/*
 * Keeps who removes away until *@ret_lock is closed, by a store that is there already: for who only
 * looks and may not be able to write there. None is there: KILN_FD_NONE, and success. Without
 * @wait, KILN_EBUSY where somebody may be at it.
 */
int kiln__store_hold_here(const struct kiln__images *images, bool wait, kiln_fd *ret_lock,
			  kiln_error *err);

/*
 * Takes a name away, for @arch only if that is not NULL; @name NULL: all names of the manifest
 * @digest. What nothing leads to then goes, but for what VMs are made of, in @keep
 * (NULL-terminated, may be NULL): digests of manifests, and names of root images in the cache
 * (kiln__root_image_name()).
 */
struct kiln__freed {
	uint64_t bytes;
	unsigned blobs;
	unsigned roots;
};
int kiln__store_remove(const struct kiln__images *images, const char *name, const char *arch,
		       const char *digest, const char *const *keep, struct kiln__freed *ret,
		       kiln_error *err);

/*
 * The same for what nothing leads to already: also what pulls that were killed have left, and roots
 * of archives that were changed since. @all_unused: images whatever their names, and roots of
 * archives and directories, that are not in @keep.
 */
int kiln__store_prune(const struct kiln__images *images, bool all_unused, const char *const *keep,
		      struct kiln__freed *ret, kiln_error *err);

/* How much the store takes of the disk: blobs, roots. */
int kiln__store_usage(const struct kiln__images *images, uint64_t *ret_blobs, uint64_t *ret_roots,
		      kiln_error *err);

/* --- archives -------------------------------------------------------------------------------- */

enum kiln__image_source {
	KILN__SOURCE_OCI,            /* a directory: an OCI image layout */
	KILN__SOURCE_DIR,            /* a directory as skopeo's dir: has it */
	KILN__SOURCE_OCI_ARCHIVE,    /* a tar archive of a layout */
	KILN__SOURCE_DOCKER_ARCHIVE, /* as docker save writes it */
	KILN__SOURCE_ARCHIVE,        /* one of these two */
	KILN__SOURCE_TAR,            /* a root, which becomes an image of one layer */
};

/* Where @text names a source ("oci:PATH[:NAME]"): true, and where PATH begins. */
bool kiln__image_source_of(const char *text, enum kiln__image_source *ret, const char **ret_rest);

/*
 * Takes in what the source at @path (or the open file @fd, if it is NULL) has under the name
 * @inside (NULL: the only one), as @name (NULL: as it is called there).
 */
int kiln__image_load(const struct kiln__images *images, enum kiln__image_source source,
		     const char *path, kiln_fd fd, const char *inside, const char *name,
		     const char *arch, struct kiln__image *ret, kiln_error *err);

/* Writes an image as an OCI archive into the open, empty file. */
int kiln__image_save(const struct kiln__images *images, const struct kiln__image_entry *entry,
		     kiln_fd fd, kiln_error *err);

#endif
