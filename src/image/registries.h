/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which registries are asked for a name, and how, by a file in the terms of
 * containers-registries.conf(5), version 2:
 *
 *     unqualified-search-registries = ["docker.io", "quay.io"]
 *
 *     [[registry]]
 *     prefix = "example.com/team"      # which names: the longest that fits; default: location
 *     location = "mirror.example.com"  # what stands in the prefix's place
 *     insecure = false                 # http, and certificates that nobody vouches for
 *     blocked = false
 *
 *     [[registry.mirror]]              # asked before the location
 *     location = "localhost:5000/team"
 *     insecure = true
 *     pull-from-mirror = "all"         # or "digest-only", "tag-only"
 *
 * The file is $KILN_REGISTRIES; else kiln/registries.conf in $XDG_CONFIG_HOME (~/.config); else
 * /etc/kiln/registries.conf. Keys that are not above are refused by name, and so is what TOML has
 * besides. Without a file all names are taken as they are. This host's own registries (localhost,
 * 127.0.0.0/8, [::1]) count as insecure unless a rule says otherwise.
 */
#ifndef KILN_IMAGE_REGISTRIES_H
#define KILN_IMAGE_REGISTRIES_H

#include <kiln/error.h>

#include "cleanup.h"
#include "reference.h"

#include <stdbool.h>
#include <stddef.h>

struct kiln__registries;

/* The user's. With no file an empty one. */
int kiln__registries_load(struct kiln__registries **ret, kiln_error *err);

/* Of text; @name is for messages. */
int kiln__registries_parse(struct kiln__registries **ret, const char *text, const char *name,
			   kiln_error *err);
void kiln__registries_free(struct kiln__registries *registries); /* NULL is allowed */

/* Where bare names are looked for, in this order; NULL-terminated; docker.io if nothing is said. */
const char *const *kiln__registries_search(const struct kiln__registries *registries);

struct kiln__registry_place {
	char host[KILN__REFERENCE_NAME_MAX + 1];
	char path[KILN__REFERENCE_NAME_MAX + 1];
	bool insecure;
};

/*
 * Where the image is asked for, mirrors first, up to @max places: a count. KILN_EACCES if the file
 * blocks it.
 */
int kiln__registries_places(const struct kiln__registries *registries,
			    const struct kiln__reference *reference,
			    struct kiln__registry_place *ret, size_t max, kiln_error *err);

KILN__DEFINE_AUTOPTR(struct kiln__registries, kiln__registries_free)

#endif
