/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue of cloud images by name: where a vendor's image is, and where its checksums are. It
 * holds no digest: what an image must be is read from the vendor, over TLS, when it is pulled.
 */
#ifndef KILN_IMAGE_CATALOGUE_H
#define KILN_IMAGE_CATALOGUE_H

#include <kiln/error.h>

#include "cleanup.h"

#include <stddef.h>

struct kiln__cloud_image {
	const char *name; /* letters, digits, '.', '_' and '-' */
	const char *arch;
	const char *url;       /* https */
	const char *checksums; /* https */
	const char *file;      /* the last part of url, as it stands in the checksums */
	size_t digits;         /* 64: SHA-256, 128: SHA-512 */
};

struct kiln__catalogue;

/* A file of data/cloud-images.json's form. KILN_EFORMAT names what is wrong with it. */
int kiln__catalogue_load(struct kiln__catalogue **ret, const char *path, kiln_error *err);
void kiln__catalogue_free(struct kiln__catalogue *catalogue); /* NULL is allowed */
KILN__DEFINE_AUTOPTR(struct kiln__catalogue, kiln__catalogue_free)

/* Those there are, one after the other; NULL at the end. */
const struct kiln__cloud_image *kiln__catalogue_at(const struct kiln__catalogue *catalogue,
						   size_t i);

/* KILN_ENOENT names what there is. Valid as long as the catalogue. */
int kiln__catalogue_find(const struct kiln__catalogue *catalogue, const char *name,
			 const char *arch, const struct kiln__cloud_image **ret, kiln_error *err);

#endif
