/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The homes that share an image cache (KILN_IMAGE_CACHE). Each says so in the cache before a
 * machine of it can name an image there:
 *
 *   CACHE/homes/KEY   a symbolic link to the home, which may be gone
 *
 * KEY is the digest of the home's path. All functions block; any thread.
 */
#ifndef KILN_MANAGER_HOMES_H
#define KILN_MANAGER_HOMES_H

#include <kiln/error.h>

#include "cache.h"
#include "home.h"

/*
 * Says that machines of @home use images of @cache. One system call where that is said already.
 * A cache that can only be read is no failure: who cannot write there makes no machine of a new
 * image.
 */
int kiln__homes_join(const struct kiln__home *home, const struct kiln__cache *cache,
		     kiln_error *err);

/*
 * Adds to *@digests (malloc'ed, as its strings are, NULL-terminated) the manifests that machines of
 * all these homes name, and of the one that the cache lies in. What cannot be read is an error, for
 * it may name any. With the store's removal begun, nothing comes to be named meanwhile.
 */
int kiln__homes_used(const struct kiln__cache *cache, char ***digests, kiln_error *err);

#endif
