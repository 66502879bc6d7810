/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the fake guest share: connections (guest.c), requests (request.c), sessions
 * (session.c). */
#ifndef KILN_FAKE_CONN_H
#define KILN_FAKE_CONN_H

#include "agentmsg.h"
#include "guest.h"
#include "list.h"
#include "window.h"

struct kiln__fake_session;

struct kiln__fake_guest {
	kiln_loop *loop;
	void (*power)(void *data, bool reset);
	void *data;
	struct kiln__list conns;
	struct kiln__list echoes;
	struct kiln__list sessions;
	struct kiln__fake_conn *boot;
	int64_t start_ns;
	uint32_t last_pid;
	bool frozen;
	bool main_started;
	bool end_with_main;
};

/* A connection to the agent. */
struct kiln__fake_conn {
	struct kiln__list link;
	struct kiln__fake_guest *guest;
	struct kiln__stream *stream;
	struct kiln__frame_reader reader;
	struct kiln__buf out;
	struct kiln__fake_session *session; /* whose client this is, or NULL */
	bool hello;                         /* the host's has come */
	bool stalled;                       /* what came while frozen waits in the stream */
	bool ending;                        /* closed once all is sent */
	bool dead;
	unsigned busy;
};

void kiln__fake_conn_send(struct kiln__fake_conn *conn, uint8_t type, uint16_t tag,
			  const struct kiln__record *record, const void *value);
void kiln__fake_conn_send_error(struct kiln__fake_conn *conn, uint16_t tag, const kiln_error *err);

/* Says why, and closes once that was sent. */
void kiln__fake_conn_fail(struct kiln__fake_conn *conn, const kiln_error *err);
void kiln__fake_conn_close(struct kiln__fake_conn *conn);

/* Sends what the stream takes, the session's output included. */
void kiln__fake_conn_flush(struct kiln__fake_conn *conn);

/* Nanoseconds since the guest's start. */
uint64_t kiln__fake_guest_now(const struct kiln__fake_guest *guest);

/* Answers a frame that is not a session's. */
void kiln__fake_request(struct kiln__fake_conn *conn, const struct kiln__frame *frame);

/* --- sessions ------------------------------------------------------------------ */

int kiln__fake_session_start(struct kiln__fake_conn *conn, const struct kiln__agent_start *start,
			     kiln_error *err);
int kiln__fake_session_attach(struct kiln__fake_conn *conn, const struct kiln__agent_attach *attach,
			      kiln_error *err);
struct kiln__fake_session *kiln__fake_session_find(struct kiln__fake_guest *guest, uint64_t id);
void kiln__fake_session_signal(struct kiln__fake_session *session, uint32_t number);
void kiln__fake_session_info(const struct kiln__fake_session *session,
			     struct kiln__agent_session_info *ret);

/* A frame from its client: 1 if it was one of a session's, 0 if not, or a code. May free the
 * session. */
int kiln__fake_session_frame(struct kiln__fake_session *session, const struct kiln__frame *frame,
			     kiln_error *err);

/* Puts its next frame into its connection's buffer; false if there is none. */
bool kiln__fake_session_next_frame(struct kiln__fake_session *session);
void kiln__fake_session_detach(struct kiln__fake_session *session);
void kiln__fake_session_free(struct kiln__fake_session *session);

struct kiln__fake_session *kiln__fake_session_of(struct kiln__list *link);

#endif
