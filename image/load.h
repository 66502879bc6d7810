/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the role "load" (load.c): what a source has (loadfiles.c), what a manifest leads to
 * (loadmanifest.c), and what each kind of source begins with (loadlayout.c, loaddocker.c,
 * loadtar.c).
 */
#ifndef KILN_IMAGE_LOAD_H
#define KILN_IMAGE_LOAD_H

#include <kiln/error.h>

#include "manifest.h"
#include "program.h"

#include "cleanup.h"
#include "fd.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

struct loading {
	const struct request *request;
	json_t *files; /* of an archive: name to {digest, size} or {link} */
	uint64_t bytes;
	char *name; /* that the image has there, malloc'ed, or NULL */
};

/* --- what a source has ----------------------------------------------------------------------- */

/* An archive whole, every file of it under its own digest: files. */
int load_take_archive(struct loading *loading, kiln_error *err);

/* Makes sure that the file @path is in the store: what it is there. */
int load_take_in(struct loading *loading, const char *path, struct descriptor *ret,
		 kiln_error *err);

/* Copies an open file into the store under the digest that it has. */
int load_copy_fd(const struct loading *loading, kiln_fd fd, struct descriptor *ret,
		 kiln_error *err);

/* A document, in memory (malloc'ed), and which it is. */
int load_read_document(struct loading *loading, const char *path, size_t max, char **ret,
		       size_t *ret_len, struct descriptor *self, kiln_error *err);
int load_read_json(struct loading *loading, const char *path, json_t **ret, kiln_error *err);

/* --- what leads to an image: its description, a new reference -------------------------------- */

/* Where a blob lies in a layout, or as dir: has it; malloc'ed. */
char *load_blob_path(const struct loading *loading, const char *digest);

/* The manifest at @path, or the one for this machine that the index there names. */
int load_manifest(struct loading *loading, const char *path, const char *media_type, unsigned depth,
		  json_t **ret, kiln_error *err);

/* An image without a manifest: writes that of what is there, and goes on as if it had been. */
int load_made(struct loading *loading, const struct descriptor *config,
	      const struct descriptor *layers, size_t count, json_t **ret, kiln_error *err);

/* --- kinds of sources ------------------------------------------------------------------------ */

int load_layout(struct loading *loading, json_t **ret, kiln_error *err);
int load_docker(struct loading *loading, json_t **ret, kiln_error *err);
int load_tar(struct loading *loading, json_t **ret, kiln_error *err); /* a root as one layer */

#endif
