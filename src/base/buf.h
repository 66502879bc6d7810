/* SPDX-License-Identifier: Apache-2.0 */
/* A growable byte buffer, also used as a string builder. */
#ifndef KILN_BASE_BUF_H
#define KILN_BASE_BUF_H

#include <kiln/error.h>

#include "cleanup.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * data[0..len) are the contents; data[len] is always NUL once anything was
 * appended. A failed allocation sets "failed" and makes all later appends do
 * nothing, so a chain of appends needs one check at its end.
 *
 * What is dropped at the front stays in the storage until its room is needed: a queue
 * that is taken away in small pieces is not moved for each.
 */
struct kiln__buf {
	char *data;
	size_t len;
	size_t cap;  /* bytes of storage from data on */
	size_t head; /* and before it */
	bool failed;
};

#define KILN__BUF_INIT                                                                             \
	{                                                                                          \
		NULL, 0, 0, 0, false                                                               \
	}

void kiln__buf_done(struct kiln__buf *buf);
void kiln__buf_clear(struct kiln__buf *buf); /* empties it, keeps the storage */

/* Room for @more further bytes. Returns 0 or KILN_ENOMEM. */
int kiln__buf_reserve(struct kiln__buf *buf, size_t more);

void kiln__buf_add(struct kiln__buf *buf, const void *data, size_t len);
void kiln__buf_adds(struct kiln__buf *buf, const char *text);
void kiln__buf_addc(struct kiln__buf *buf, char c);
void kiln__buf_addf(struct kiln__buf *buf, const char *fmt, ...) KILN_PRINTF(2, 3);
void kiln__buf_vaddf(struct kiln__buf *buf, const char *fmt, va_list args) KILN_PRINTF(2, 0);

/* Drops the first @n bytes (n <= len). Costs nothing like their number, nor the rest's. */
void kiln__buf_drop(struct kiln__buf *buf, size_t n);

/*
 * The contents as a malloc'ed string that the caller owns; the buffer is empty
 * afterwards. NULL if an append failed.
 */
char *kiln__buf_steal(struct kiln__buf *buf);

/* printf into a malloc'ed string; NULL when out of memory. */
char *kiln__strf(const char *fmt, ...) KILN_PRINTF(1, 2);

#define kiln__autobuf kiln__cleanup(kiln__buf_done) struct kiln__buf

/* What is behind the last @c of @len bytes; all of them if there is none. */
const char *kiln__buf_behind_last(const char *text, char c, size_t len);

#endif
