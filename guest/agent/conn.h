/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to the host. */
#ifndef KILN_GUEST_CONN_H
#define KILN_GUEST_CONN_H

#include "agent.h"
#include "buf.h"

/*
 * Frames go out through "out", but for stream data, which is written from the
 * session's window without a copy: "data" is the frame in progress. A frame once
 * begun is finished before anything else is sent.
 */
struct conn {
	struct agent *agent;
	struct conn *next;
	struct conn **link; /* what points here */
	struct source source;
	struct kiln__frame_reader reader;
	struct kiln__buf out;
	size_t out_at;
	struct {
		uint8_t head[KILN__FRAME_DATA_HEAD];
		size_t head_at;
		const uint8_t *bytes;
		size_t len;
		size_t at;
		int stream;
		bool active;
	} data;
	struct session *session; /* whose client this is, or NULL */
	uint32_t version;        /* agreed on; 0 until the host's hello */
	int64_t since_ns;        /* when it was made */
	bool boot;
	bool connecting;
	bool ending; /* closed once all is sent */
	bool dead;
	unsigned busy; /* calls on the stack that still use it */
};

/* Owns @fd from here on, whatever is returned. NULL when out of memory. */
struct conn *conn_new(struct agent *agent, int fd, bool boot, bool connecting);

/* Closes, and frees as soon as nothing on the stack uses it. Its session stays. */
void conn_close(struct conn *conn);

/* Queue a frame. It is sent by the next conn_flush(). */
void conn_send(struct conn *conn, uint8_t type, uint8_t flags, uint16_t tag,
	       const struct kiln__record *record, const void *value);
void conn_send_error(struct conn *conn, uint16_t tag, const kiln_error *err);

/* Says why and ends the connection after that. */
void conn_fail(struct conn *conn, const kiln_error *err);

/* Sends what can be sent, the session's output included. May close the connection. */
void conn_flush(struct conn *conn);

#endif
