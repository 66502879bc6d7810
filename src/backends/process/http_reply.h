/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers of an HTTP/1.1 server (RFC 9112), taken apart as they come. Pure: bytes in, a status
 * and a body out. Whoever sends them may be hostile: the head, its lines, the body and what
 * surrounds the chunks of one are bounded, and what has two meanings is refused.
 */
#ifndef KILN_PROCESS_HTTP_REPLY_H
#define KILN_PROCESS_HTTP_REPLY_H

#include <kiln/error.h>

#include "buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KILN__HTTP_MAX_LINE  4096           /* bytes of a line of the head */
#define KILN__HTTP_MAX_LINES 64             /* of a head, or of what follows the last chunk */
#define KILN__HTTP_MAX_BODY  (1024u * 1024) /* bytes */

enum kiln__http_phase {
	KILN__HTTP_STATUS, /* the first line */
	KILN__HTTP_HEAD,   /* the others, up to an empty one */
	KILN__HTTP_BODY,   /* so many bytes as were announced */
	KILN__HTTP_TO_END, /* what comes until the connection ends */
	KILN__HTTP_CHUNK,  /* a line with a chunk's length */
	KILN__HTTP_CHUNK_DATA,
	KILN__HTTP_CHUNK_END, /* the line end behind its data */
	KILN__HTTP_TRAILER,   /* what follows the last chunk, up to an empty line */
	KILN__HTTP_COMPLETE,
};

struct kiln__http_reply {
	enum kiln__http_phase phase;
	int status;            /* 200..599 once complete */
	bool closes;           /* no further request on this connection */
	struct kiln__buf body; /* NUL-terminated if there is any */

	/* Of the one that is being read. */
	struct kiln__buf line;
	unsigned lines;
	bool has_length;
	bool chunked;
	uint64_t left; /* bytes of the body, or of the chunk */
};

/* Empties it for the next answer; all zero is empty, too. */
void kiln__http_reply_reset(struct kiln__http_reply *reply);
void kiln__http_reply_done(struct kiln__http_reply *reply);

/*
 * Takes what has come, up to the end of one answer: how many bytes those were. KILN_EFORMAT, saying
 * what is wrong, ends the connection; nothing may be fed afterwards but after a reset.
 */
ssize_t kiln__http_reply_feed(struct kiln__http_reply *reply, const void *bytes, size_t len,
			      kiln_error *err);

/* The connection has ended: 0 if that completes the answer, KILN_EDIED if it was cut short. */
int kiln__http_reply_end(struct kiln__http_reply *reply, kiln_error *err);

#endif
