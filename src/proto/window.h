/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window over a byte stream: the bytes from offset "start" up to "end", at most
 * "cap" of them. What a sender keeps until it is acknowledged, so that it can be
 * sent again, and what a receiver keeps until it is consumed. Offsets count from
 * the stream's first byte and never wrap (2^64 bytes do not happen).
 */
#ifndef KILN_PROTO_WINDOW_H
#define KILN_PROTO_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kiln__window {
	uint8_t *data; /* a ring of cap bytes, NULL until the first byte comes */
	size_t cap;    /* a power of two */
	uint64_t start;
	uint64_t end;
};

/* An empty window at offset 0. @cap must be a power of two. Allocates nothing yet. */
void kiln__window_init(struct kiln__window *window, size_t cap);
void kiln__window_done(struct kiln__window *window);

static inline size_t kiln__window_used(const struct kiln__window *window)
{
	return (size_t)(window->end - window->start);
}

static inline size_t kiln__window_room(const struct kiln__window *window)
{
	return window->cap - kiln__window_used(window);
}

/*
 * Where to write next: up to the returned count of bytes at *ret, in one piece,
 * then kiln__window_added(). 0 if there is no room, or (with *ret NULL) no memory.
 */
size_t kiln__window_space(struct kiln__window *window, uint8_t **ret);
void kiln__window_added(struct kiln__window *window, size_t n);

/* Copies in up to @len bytes; the count that was taken, or KILN_ENOMEM. */
int64_t kiln__window_put(struct kiln__window *window, const void *bytes, size_t len);

/*
 * The bytes at @offset (start <= offset <= end): up to the returned count of them,
 * in one piece, at *ret. Valid until they are dropped.
 */
size_t kiln__window_at(const struct kiln__window *window, uint64_t offset, const uint8_t **ret);

/* Forgets what lies before @offset (start <= offset <= end). */
void kiln__window_drop(struct kiln__window *window, uint64_t offset);

/* Whether @offset lies in the window or at its end. */
static inline bool kiln__window_holds(const struct kiln__window *window, uint64_t offset)
{
	return offset >= window->start && offset <= window->end;
}

#endif
