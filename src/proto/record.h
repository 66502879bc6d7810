/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records: a C struct as a list of numbered fields, by a table that both ends share.
 *
 * On the wire a field is a little-endian u32, its number in the low 8 bits and the
 * length of its value in the rest, followed by the value. A field that is zero or
 * empty is not sent, and one that is not there reads as zero or empty. A field of
 * an unknown number is skipped, unless its number is KILN__FIELD_CRITICAL or above:
 * then the record is refused, because ignoring it would do something else than
 * what was asked. Numbers are never reused.
 *
 * Unpacking allocates nothing: strings and bytes point into what was unpacked.
 */
#ifndef KILN_PROTO_RECORD_H
#define KILN_PROTO_RECORD_H

#include <kiln/error.h>

#include "buf.h"

#include <stddef.h>
#include <stdint.h>

#define KILN__FIELD_CRITICAL 128

struct kiln__bytes {
	const void *at;
	size_t len;
};

/* A list of strings: each with its NUL, one after the other. */
struct kiln__strs {
	const char *at;
	size_t len;
};

enum kiln__field_kind {
	KILN__FIELD_BOOL,    /* bool; 1 byte, 0 or 1 */
	KILN__FIELD_U32,     /* uint32_t; 4 bytes */
	KILN__FIELD_U64,     /* uint64_t; 8 bytes */
	KILN__FIELD_STR,     /* const char *, NULL if absent; sent with its NUL, none inside */
	KILN__FIELD_BYTES,   /* struct kiln__bytes */
	KILN__FIELD_STRS,    /* struct kiln__strs */
	KILN__FIELD_RECORD,  /* a struct */
	KILN__FIELD_U32S,    /* an array of uint32_t, one field an element, with a count */
	KILN__FIELD_RECORDS, /* an array of structs, one field an element, with a count */
};

struct kiln__record;

struct kiln__field {
	uint8_t number;
	uint8_t kind;
	uint16_t max;                      /* elements an array has room for */
	uint32_t offset;                   /* in the struct */
	uint32_t count_offset;             /* arrays: of the size_t that counts the elements */
	const struct kiln__record *record; /* of the struct, or of each element */
};

struct kiln__record {
	const char *name; /* for messages */
	const struct kiln__field *fields;
	size_t field_count;
	size_t size; /* of the struct */
};

#define KILN__FIELD(number, kind, type, member)                                                    \
	{                                                                                          \
		number, KILN__FIELD_##kind, 0, offsetof(type, member), 0, NULL                     \
	}
#define KILN__FIELD_SUB(number, type, member, record)                                              \
	{                                                                                          \
		number, KILN__FIELD_RECORD, 0, offsetof(type, member), 0, record                   \
	}
#define KILN__FIELD_LIST(number, kind, type, member, count, record)                                \
	{                                                                                          \
		number, KILN__FIELD_##kind,                                                        \
			sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]),              \
			offsetof(type, member), offsetof(type, count), record                      \
	}

#define KILN__RECORD(type, record_name, table)                                                     \
	{                                                                                          \
		record_name, table, sizeof(table) / sizeof((table)[0]), sizeof(type)               \
	}

/* Appends @value's fields. A value too long for the wire marks @buf as failed. */
void kiln__record_pack(struct kiln__buf *buf, const struct kiln__record *record, const void *value);

/*
 * Fills the whole struct at @ret. KILN_EPROTO if the bytes are not such a record,
 * KILN_ENOTSUP if they have a critical field that is unknown here; @ret is then undefined.
 */
int kiln__record_unpack(const struct kiln__record *record, const void *bytes, size_t len, void *ret,
			kiln_error *err);

/* Appends one string to a list in the making: {buf->data, buf->len} is the list. */
void kiln__strs_add(struct kiln__buf *buf, const char *text);

/* And each of a list that ends with NULL; there may be none: @strings is NULL then. */
void kiln__strs_add_all(struct kiln__buf *buf, const char *const *strings);

/* The string after @previous, or the first for NULL; NULL at the end. */
const char *kiln__strs_next(const struct kiln__strs *strs, const char *previous);
size_t kiln__strs_count(const struct kiln__strs *strs);

#endif
