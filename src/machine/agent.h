/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control channel to a guest's agent: the connection that the agent makes to the
 * host's boot port when it is up (docs/agent-protocol.md). Hello, then requests and
 * their answers, and the agent's events. On the loop's thread; handlers may free it.
 */
#ifndef KILN_MACHINE_AGENT_H
#define KILN_MACHINE_AGENT_H

#include <kiln/error.h>

#include "agentmsg.h"
#include "loop.h"
#include "stream.h"

struct kiln__agent;

struct kiln__agent_handler {
	/* The agent's first words. Once. */
	void (*hello)(void *data, const struct kiln__agent_hello *hello);
	/* The guest is about to go down, and why (enum kiln__agent_cause). May be NULL. */
	void (*shutting_down)(void *data, uint32_t cause);
	/* The connection is over; requests have been answered with the same error before. Once. */
	void (*closed)(void *data, const kiln_error *err);
};

/* An answer: the OK frame's body as unpacked by the request's result record (NULL if it has none),
 * or an error. */
typedef void (*kiln__agent_reply_fn)(void *data, const void *result, const kiln_error *err);

/* Takes @stream, which is the caller's on failure. */
int kiln__agent_new(struct kiln__agent **ret, kiln_loop *loop, struct kiln__stream *stream,
		    const struct kiln__agent_handler *handler, void *data, kiln_error *err);
void kiln__agent_free(struct kiln__agent *agent); /* forgets requests; NULL is allowed */

struct kiln__agent_call {
	uint8_t type;                      /* KILN__AGENT_SETUP ... */
	const struct kiln__record *record; /* of @value, or NULL */
	const void *value;                 /* read during the call */
	const struct kiln__record *result; /* of the answer, or NULL */
	kiln__agent_reply_fn reply;        /* may be NULL */
	void *data;
};

/* Sends a request. KILN_EBUSY with too many unanswered. */
int kiln__agent_request(struct kiln__agent *agent, const struct kiln__agent_call *call,
			kiln_error *err);

/* What the hello said; 0 until it has come. */
uint64_t kiln__agent_features(const struct kiln__agent *agent);

/* A kiln_error from an agent's; what it says is cleaned of control characters. */
void kiln__agent_error_to(const struct kiln__agent_error *error, kiln_error *ret);

#endif
