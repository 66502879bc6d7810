/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree that an image's layers make, one upon the other (OCI image-spec, layer.md): what each
 * entry does to what is there of the layers below. Nothing but names and attributes is kept of a
 * layer; the inode that an entry makes remembers which entry it was.
 */
#ifndef KILN_IMAGE_PLAN_H
#define KILN_IMAGE_PLAN_H

#include <kiln/error.h>

#include "root.h"

struct plan {
	struct making *making;
	uint8_t layer;     /* that is being applied */
	uint32_t position; /* of the entry in it, from 0 */
};

/*
 * Applies one entry. KILN_EFORMAT, KILN_EOVERFLOW name it: paths that are absolute, have ".." or
 * lead through a link; whiteouts of nothing or of what is above; what only an overlay file system
 * may have.
 */
int plan_entry(struct plan *plan, struct archive_entry *entry, kiln_error *err);

/*
 * What is to be read of each layer once all are applied: the inodes that something still leads to,
 * in the order of their entries. The array (malloc'ed) ends with NULL.
 */
int plan_wanted(struct plan *plan, uint8_t layer, struct inode ***ret, kiln_error *err);

#endif
