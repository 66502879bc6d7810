/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client attached to the main process: it speaks the agent protocol, and this is the
 * other end of it, as the guest's agent would be. Output that was read before it came is in the
 * log, not here: its offsets begin where it attached.
 */
#ifndef KILN_RUNNER_ATTACH_H
#define KILN_RUNNER_ATTACH_H

#include "agentmsg.h"
#include "loop.h"
#include "stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attached;

struct attached_handler {
	/* It has asked for the process: from here on it misses no output. */
	void (*asked)(void *data);
	/* Input from the client: bytes consumed; after fewer, attached_resume() asks for more. */
	size_t (*input)(void *data, const void *bytes, size_t len);
	void (*input_end)(void *data);
	void (*resize)(void *data, uint32_t rows, uint32_t cols);
	void (*signal)(void *data, uint32_t number, bool group);
	/* It has caught up with what it was sent. */
	void (*drained)(void *data);
	/* It is gone (or has been told the end and has left): free it. */
	void (*gone)(void *data, struct attached *client);
};

/* Takes @stream, also on failure. @with_stdin: its input is wanted. */
int attached_new(struct attached **ret, kiln_loop *loop, struct kiln__stream *stream,
		 bool with_stdin, const struct attached_handler *handler, void *data,
		 kiln_error *err);
void attached_free(struct attached *client);

/* The process runs: the client's request is answered (now, or when it comes). */
void attached_started(struct attached *client, uint64_t id, uint32_t pid);

/* False while too much waits for the client: then drained() tells when to go on. */
bool attached_has_room(const struct attached *client);
void attached_output(struct attached *client, int stream, const void *bytes, size_t len);

/* The end: how the process ended, or why there is none. Then the client closes. */
void attached_exit(struct attached *client, const struct kiln__agent_exit *how);
void attached_fail(struct attached *client, const kiln_error *err);

/*
 * True of a client that wants the process's output and has not been sent all of it, its
 * end included. What was sent can be read when this process has gone.
 */
bool attached_is_owed(const struct attached *client);

/* Takes input again. */
void attached_resume(struct attached *client);

#endif
