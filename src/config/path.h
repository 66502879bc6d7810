/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of keys: "cpus", "disks[0].path", "disks[].path", "labels.com.example.tier".
 * What follows a map's name and a dot is the entry's name whole, dots included.
 */
#ifndef KILN_CONFIG_PATH_H
#define KILN_CONFIG_PATH_H

#include "accept.h"
#include "schema.h"

#include <stdbool.h>

enum kiln__step_kind {
	KILN__STEP_MEMBER,  /* of an object */
	KILN__STEP_ENTRY,   /* of a map */
	KILN__STEP_ELEMENT, /* of a list */
	KILN__STEP_APPEND,  /* a new element of a list: becomes ELEMENT by kiln__path_follow() */
	KILN__STEP_PAIR,    /* a new entry of a map, from "NAME=value"; "where" is the map */
};

struct kiln__step {
	enum kiln__step_kind kind;
	const struct kiln__key *key; /* of what it leads to; NULL for ENTRY and PAIR */
	const char *name;            /* MEMBER, ENTRY */
	size_t index;                /* ELEMENT */
	struct kiln__where where;    /* of what it leads to */
	json_t *in;                  /* what it leads from, once followed; borrowed, or NULL */
};

#define KILN__MAX_STEPS 8 /* the schema needs 5 */

/* Refers to itself: not to be copied. */
struct kiln__path {
	struct kiln__where root;
	struct kiln__step steps[KILN__MAX_STEPS];
	size_t count; /* at least 1 once parsed */
	char text[KILN__MAX_PATH];
};

/* Takes @text apart along the schema. Unknown keys, later versions' keys and bad syntax fail. */
int kiln__path_parse(struct kiln__path *path, const char *text, kiln_error *err);

/*
 * Follows a path in a document as far as it is there, and numbers what it appends.
 * *ret is the value at its end, borrowed, or NULL. KILN_ENOENT if an index is beyond the
 * element that could be appended.
 */
int kiln__path_follow(struct kiln__path *path, json_t *doc, json_t **ret, kiln_error *err);

/* The key of what a path leads to; NULL for an entry of a map. */
static inline const struct kiln__key *kiln__path_key(const struct kiln__path *path)
{
	return path->steps[path->count - 1].key;
}

#endif
