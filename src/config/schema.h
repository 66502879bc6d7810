/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of a machine's configuration: one table of keys (schema.c) from which
 * everything else follows. Parsing and setting (accept.c, config.c), the checks of
 * the whole (validate.c), the plain-C view (spec.c) and the published JSON Schema
 * (publish.c) walk it and know no key by heart, but where two keys must agree.
 *
 * A new key is one row there, and a field in spec.h if a machine is to see it.
 */
#ifndef KILN_CONFIG_SCHEMA_H
#define KILN_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The field of the C view that a value ends in is named in brackets. */
enum kiln__type {
	KILN__TYPE_OBJECT,   /* has "keys" [a struct; fields of members are relative to it] */
	KILN__TYPE_LIST,     /* of "element", at most max [const char *const *, or a struct * and a
				count] */
	KILN__TYPE_MAP,      /* name to text, also a list of "name=text" [filled by spec.c] */
	KILN__TYPE_BOOL,     /* [bool] */
	KILN__TYPE_INTEGER,  /* min..max [an unsigned type of any width] */
	KILN__TYPE_FD,       /* min..max [kiln_fd; KILN_FD_NONE if absent] */
	KILN__TYPE_SIZE,     /* bytes, min..max, a multiple of "multiple" [uint64_t] */
	KILN__TYPE_DURATION, /* milliseconds, min..max [uint64_t] */
	KILN__TYPE_STRING,   /* min..max bytes, "check" [const char *] */
	KILN__TYPE_CHOICE,   /* one of "choices" [const char *] */
	KILN__TYPE_ENUM,     /* one of "choices" [its index, as an enum or bool] */
	KILN__TYPE_IP,       /* an IPv4 or IPv6 address [const char *] */
	KILN__TYPE_MAC,      /* a unicast MAC address [uint8_t[6]] */
	KILN__TYPE_LATER, /* named by the design, not supported yet by this version; doc: a hint */
	KILN__TYPE_ELSEWHERE, /* no key; doc: what is meant by it */
};

/* Where a value goes in the struct of the object that the key belongs to. */
struct kiln__field {
	bool used;
	size_t offset;
	size_t size;
};

/* What is written beside a value when it is there: which of several keys it was. */
struct kiln__mark {
	bool used;
	size_t offset; /* of an enum */
	int value;
};

struct kiln__key {
	const char *name; /* NULL ends a table and names no element of a list */
	enum kiln__type type;
	const char *doc; /* one sentence or more, for the published schema and the manual */

	const char *def;             /* the default as kiln_config_set() takes it; NULL: none */
	const char *(*def_fn)(void); /* or where it depends on the host */
	const char *def_doc;         /* how to name a default that def cannot say */
	int64_t min, max;            /* see the types */
	int64_t multiple;            /* SIZE: 0: any */
	const char *const *choices;  /* NULL-terminated */
	const char *pattern;         /* for the published schema: what "check" accepts */
	bool required;               /* its object must have it */
	bool exclusive;              /* its object must have exactly one of the keys so marked */

	/* NULL if @text is good, else what it must be: "must be ..." Static. */
	const char *(*check)(const char *text);
	/* MAP: the same for the names. */
	const char *(*check_name)(const char *text);
	const char *name_pattern;

	const struct kiln__key *keys;    /* OBJECT */
	const struct kiln__key *element; /* LIST; its name is NULL */

	/*
	 * OBJECT: what a string in its place stands for. SHORT_PATH: {"path": text};
	 * SHORT_PORT: docker's [[ip:]host_port:]guest_port[/protocol].
	 */
	enum { KILN__SHORT_NONE, KILN__SHORT_PATH, KILN__SHORT_PORT } shorthand;

	struct kiln__field field;
	struct kiln__mark mark;
	struct kiln__field count; /* LIST of objects: where the length goes */
	size_t stride;            /* LIST of objects: the size of the struct */
};

/* The document itself: an OBJECT whose struct is struct kiln__spec. */
extern const struct kiln__key kiln__schema;

/* The key of @object called @name (of @len bytes), or NULL. */
const struct kiln__key *kiln__schema_find(const struct kiln__key *object, const char *name,
					  size_t len);

/*
 * The path of a known key that somebody who wrote @name in @object, whose own path
 * is @path, most likely meant, in @out (empty if there is none that is near).
 */
void kiln__schema_nearest(const struct kiln__key *object, const char *path, const char *name,
			  char *out, size_t size);

/* Whether a row only says why there is no such key. */
static inline bool kiln__schema_is_absent(const struct kiln__key *key)
{
	return key->type == KILN__TYPE_LATER || key->type == KILN__TYPE_ELSEWHERE;
}

/* The default of a key as text, or NULL. Static. */
static inline const char *kiln__schema_default(const struct kiln__key *key)
{
	return key->def_fn ? key->def_fn() : key->def;
}

#define KILN__MAX_DOCUMENT (1024 * 1024) /* bytes of a configuration's text */
#define KILN__MAX_NESTING  16            /* of objects and lists; the schema needs 4 */
#define KILN__MAX_PATH     512           /* bytes of a key's path */
/* Linux's MAX_ARG_STRLEN (32 pages) without the NUL: what execve() takes as one argument. */
#define KILN__MAX_TEXT 131071

#endif
