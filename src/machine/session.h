/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process in the guest, from the host's side: one session of the agent protocol
 * (docs/agent-protocol.md) over a stream of its own.
 *
 * The same code serves the runner, whose stream is a vsock connection, and a client,
 * whose stream is its control connection after "exec" or "attach". All on the loop's
 * thread. Handlers run from the loop and may do anything with the session, freeing it
 * included.
 *
 * A session outlives its connection: after failed() with "lost" the process goes on
 * in the guest, and kiln__session_reattach() takes it up on a new stream without loss
 * or repetition, in both directions.
 */
#ifndef KILN_MACHINE_SESSION_H
#define KILN_MACHINE_SESSION_H

#include <kiln/error.h>

#include "agentmsg.h"
#include "loop.h"
#include "stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kiln__session;

struct kiln__session_handler {
	/* It runs. Once. */
	void (*started)(void *data, uint32_t pid);
	/*
	 * Output of stream 1 or 2 (a terminal has only 1). Returns how many bytes were
	 * consumed; after fewer nothing more comes until kiln__session_resume().
	 */
	size_t (*output)(void *data, int stream, const void *bytes, size_t len);
	/* Room for input again, after a short kiln__session_write(). May be NULL. */
	void (*writable)(void *data);
	/* The process has ended, and all its output has been delivered. Nothing follows. */
	void (*exited)(void *data, const struct kiln__agent_exit *how);
	/*
	 * The guest has refused or ended the session, or, if @lost, the connection is gone: nobody
	 * knows then how the process fares, before started() not even whether it runs. Nothing
	 * follows but what kiln__session_reattach() brings.
	 */
	void (*failed)(void *data, const kiln_error *err, bool lost);
};

/*
 * Starts a process over @stream, which the session owns from here on (on failure the
 * caller does). @start is read during the call only; its id is chosen here if it is 0.
 */
int kiln__session_start(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
			const struct kiln__agent_start *start,
			const struct kiln__session_handler *handler, void *data, kiln_error *err);

/* The same for a session that exists, from these offsets of its output on. */
int kiln__session_attach(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
			 const struct kiln__agent_attach *attach,
			 const struct kiln__session_handler *handler, void *data, kiln_error *err);

/*
 * Takes a session up again whose connection was lost. If that was before started(), the
 * start is asked for again, and happens once. KILN_ESTATE if the guest has refused it or
 * if it is connected; @stream is then still the caller's.
 */
int kiln__session_reattach(struct kiln__session *session, struct kiln__stream *stream,
			   kiln_error *err);

uint64_t kiln__session_id(const struct kiln__session *session);

/* Input for the process: bytes taken (0 to @len). After fewer, writable() says when to go on. */
size_t kiln__session_write(struct kiln__session *session, const void *bytes, size_t len);

/* No more input: the process reads the end of file after what was written. */
void kiln__session_end_input(struct kiln__session *session);

/* True once the process does not read any more; what is written then is dropped. */
bool kiln__session_input_closed(const struct kiln__session *session);

void kiln__session_resize(struct kiln__session *session, uint32_t rows, uint32_t cols);
void kiln__session_signal(struct kiln__session *session, uint32_t number, bool group);

/* Lets output come again. It may come from inside this call. */
void kiln__session_resume(struct kiln__session *session);

/* Closes its connection and forgets it; a process still running goes on. NULL is allowed. */
void kiln__session_free(struct kiln__session *session);

#endif
