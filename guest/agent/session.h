/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: a process, the windows over its streams, and how it ended. It lives
 * until the host has taken its exit status, whatever becomes of connections; those
 * whose status nobody takes are bounded in number, the oldest go first.
 *
 * Output is read from the process only while its window has room, so a host that
 * does not read makes the process wait, and nothing is lost. Input is accepted as
 * far as its window goes, so a process that does not read never keeps the host's
 * other frames from being read.
 */
#ifndef KILN_GUEST_SESSION_H
#define KILN_GUEST_SESSION_H

#include "agent.h"
#include "window.h"

#define SESSION_MAX_EXITED 16 /* whose status waits to be taken */

struct output {
	struct session *session;
	struct source source;
	struct kiln__window window; /* from what the host has consumed to what was read */
	uint64_t sent;              /* handed to the connection */
	uint64_t whole;             /* in frames that were sent to their end */
	uint64_t at_exit;           /* bytes still to be read when the process had ended */
	bool eof;                   /* nothing more comes */
	bool eof_sent;
};

struct input {
	struct source source;
	struct kiln__window window; /* from what the process has taken to what was received */
	uint64_t acked;
	bool end;    /* the host said so */
	bool closed; /* the process does not read, or has been given the end */
};

struct session {
	struct agent *agent;
	struct session *next; /* newest first */
	struct conn *conn;    /* its client, or NULL */
	uint64_t id;
	int pid;
	bool main;
	bool tty;
	bool detached; /* nobody wants its output or status */
	bool exited;
	bool exit_sent;
	bool oom;
	bool turn; /* which output goes next */
	uint32_t code;
	uint32_t signal;
	uint64_t start_ns;
	uint64_t exit_ns;
	uint64_t exit_seq; /* order of exits */
	struct input input;
	struct output output[2]; /* stdout, stderr */
	char command[128];
};

struct session *session_find(struct agent *agent, uint64_t id);
struct session *session_of_pid(struct agent *agent, int pid);

/*
 * START: runs the process and makes @conn its client, or, if there is a session of
 * this id already, attaches to it from its beginning: the host may ask again when it
 * does not know whether it was heard.
 */
int session_start(struct agent *agent, struct conn *conn, const struct kiln__agent_start *start,
		  kiln_error *err);
int session_attach(struct agent *agent, struct conn *conn, const struct kiln__agent_attach *attach,
		   kiln_error *err);

/* Its connection is gone or someone else's. */
void session_detach(struct session *session);

/* The process has ended. */
void session_exited(struct session *session, int wait_status, bool oom);

/* A frame from its client. False if it is of no session type. */
bool session_frame(struct session *session, struct conn *conn, const struct kiln__frame *frame);

/* Puts the next frame, if there is one to send, into @conn. */
bool session_next_frame(struct session *session, struct conn *conn);

/* A data frame of @len bytes of stream 0 or 1 was sent whole. */
void session_sent(struct session *session, int stream, size_t len);

int session_signal(struct session *session, const struct kiln__agent_signal *signal,
		   kiln_error *err);

#endif
