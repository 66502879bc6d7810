/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cloud images by name, pulled from their vendors: HOME/cloud/NAME-ARCH.raw, an original to clone,
 * and beside it NAME-ARCH.json: what it was made of.
 *
 * One pull at a time; what a killed one left of its download (NAME-ARCH.DIGEST.partial) the next
 * goes on with, if the vendor still says that digest, and the rest it removes. An image appears
 * once its digest is the one in the vendor's checksums, read over TLS at the same time, and it is
 * whole as a raw disk; it is replaced in one step. Blocks, for as long as a download takes. Any
 * thread.
 */
#ifndef KILN_MANAGER_CLOUD_H
#define KILN_MANAGER_CLOUD_H

#include <kiln/error.h>

#include "catalogue.h"
#include "home.h"

#include <stdbool.h>

/* $KILN_CLOUD_IMAGES, or HOME/cloud-images.json, or the one that came with kiln. */
int kiln__cloud_catalogue(const struct kiln__home *home, struct kiln__catalogue **ret,
			  kiln_error *err);

/* Where @image lies once it is pulled, malloc'ed; NULL when out of memory. */
char *kiln__cloud_path(const struct kiln__home *home, const struct kiln__cloud_image *image);

/*
 * Pulls it, unless the one that is there has the digest that the vendor names now (*ret_fresh
 * false).
 * @progress is told what takes long; it may be NULL.
 */
int kiln__cloud_pull(const struct kiln__home *home, const struct kiln__cloud_image *image,
		     void (*progress)(void *data, const char *text), void *data, bool *ret_fresh,
		     kiln_error *err);

#endif
