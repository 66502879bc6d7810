/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what somebody wrote to a value in canonical form: checked against its key's
 * row, sizes in bytes, durations in milliseconds, short forms written out, absent
 * objects absent. The canonical form of a canonical value is itself.
 */
#ifndef KILN_CONFIG_ACCEPT_H
#define KILN_CONFIG_ACCEPT_H

#include <kiln/error.h>

#include "schema.h"

#include <jansson.h>

static inline void kiln__json_autop(json_t **json)
{
	json_decref(*json);
}
#define kiln__autojson kiln__cleanup(kiln__json_autop) json_t

/* Where in the document a value stands: a chain of names and indices on the callers' stacks. */
struct kiln__where {
	const struct kiln__where *up; /* NULL: the document itself */
	const char *name;             /* or NULL: an element of a list */
	size_t index;
};

/* The path in words, "disks[0].path". Returns @out, cut to @size. */
const char *kiln__where_print(const struct kiln__where *where, char *out, size_t size);

/* Fails with @code and "<path>: <message>". */
int kiln__refuse(kiln_error *err, int code, const struct kiln__where *where, const char *fmt, ...)
	KILN_PRINTF(4, 5);

/* Fails because @object has no key @name, with what may be meant, or has it in a later version. */
int kiln__refuse_key(kiln_error *err, const struct kiln__where *where,
		     const struct kiln__key *object, const char *name);

/* @text in quotation marks, fit for a message: cut, without control characters. Returns @out. */
#define KILN__QUOTED 64
const char *kiln__quote(const char *text, char out[KILN__QUOTED]);

/* The canonical form of @value, as a new reference. */
int kiln__accept(const struct kiln__key *key, json_t *value, const struct kiln__where *where,
		 json_t **ret, kiln_error *err);

/* The same of a text, as kiln_config_set() is given it. */
int kiln__accept_text(const struct kiln__key *key, const char *text,
		      const struct kiln__where *where, json_t **ret, kiln_error *err);

/* Checks the name of a map's entry. */
int kiln__accept_name(const struct kiln__key *key, const char *name,
		      const struct kiln__where *where, kiln_error *err);

/* Parses @len bytes of JSON within the limits of schema.h; @where is for messages. */
int kiln__parse_json(const char *text, size_t len, const struct kiln__where *where, json_t **ret,
		     kiln_error *err);

/* True for an object, list or map that is as good as absent. */
bool kiln__is_empty(const struct kiln__key *key, json_t *value);

#endif
